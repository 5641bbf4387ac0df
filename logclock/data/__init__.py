"""Real text on disk, token shards, and batches that are a pure function of (seed, step)."""

from logclock.data.batches import TrainBatches, validation_batches
from logclock.data.corpora import Corpus, corpora, data_root, get_corpus, list_corpora
from logclock.data.dataset import Dataset
from logclock.data.prepare import ensure_dataset, prepare
from logclock.data.shards import ShardWriter, TokenShards, write_shard
from logclock.data.tokenize import BpeTokenizer, ByteTokenizer, Tokenizer, load_tokenizer, train_bpe

__all__ = [
    "BpeTokenizer",
    "ByteTokenizer",
    "Corpus",
    "Dataset",
    "ShardWriter",
    "TokenShards",
    "Tokenizer",
    "TrainBatches",
    "corpora",
    "data_root",
    "ensure_dataset",
    "get_corpus",
    "list_corpora",
    "load_tokenizer",
    "prepare",
    "train_bpe",
    "validation_batches",
    "write_shard",
]
