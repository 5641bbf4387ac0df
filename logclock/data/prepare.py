"""How does text, whatever it comes from, become a dataset directory that training can map into memory?

A dataset directory holds `train_*.bin`, `val_*.bin`, `tokenizer.json` and `dataset.json`. It is built under a hidden
name and renamed when complete, so a directory with a `dataset.json` is a whole dataset.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logclock.data.atomic import building
from logclock.data.corpora import CORPORA, data_root, get_corpus
from logclock.data.dataset import DATASET_FORMAT, Dataset, read_description, shards_fingerprint
from logclock.data.integrity import describe_file
from logclock.data.packages import file_sha256
from logclock.data.shards import MAX_VOCABULARY, ShardWriter
from logclock.data.sources import TextSource, open_source
from logclock.data.token_files import TokenSource, find_token_files, open_tokens
from logclock.data.tokenize import BpeTokenizer, ByteTokenizer, IdTokenizer, Tokenizer, load_tokenizer, train_bpe

__all__ = ["dataset_name", "ensure_dataset", "prepare"]

DEFAULT_BPE_VOCABULARY = 2048
GPT2_VOCABULARY = 50257
KNOWN_VOCABULARIES = {"byte": ByteTokenizer.vocab_size, "gpt2-like": GPT2_VOCABULARY}
SHARD_TOKENS = 1 << 25
TOKENIZER_BYTES = 32_000_000
BATCH_CHARS = 1 << 20

Progress = Callable[[str], None]


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    tokenizer: str | Path = "bpe",
    vocab_size: int | None = None,
    column: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    limit_bytes: int | None = None,
    validation_fraction: float | None = None,
    dtype: str | None = None,
    end_of_text: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    tokenizer_bytes: int = TOKENIZER_BYTES,
    root: str | Path | None = None,
    force: bool = False,
    progress: Progress = print,
) -> Path:
    """Turn text, or token ids of other programs, into a dataset, unless it is there already, and return its directory.

    Every document is followed by one end-of-text token. A corpus keeps its own split; elsewhere a document is held out
    when the hash of its text says so, so equal texts never stand on both sides. (Nearly equal ones can: only corpora
    are cleared of those.) The tokenizer is trained on the training side alone.

    A token file is a shard of llm.c, a numpy array, or bare ids as nanoGPT writes them. A folder of them whose names
    hold `train` and `val` keeps its split and its ids as they are; any other is cut after every end-of-text and split
    like text.

    Args:
        source: A corpus by name, a corpus directory, a text file, a table (.json, .jsonl, .ndjson, .csv, .tsv,
            .parquet, .arrow, .feather), each also under gzip or zstd where it is text, a token file (.bin, .npy), a
            folder of such files, or a Hugging Face id such as HuggingFaceFW/fineweb, which is streamed. A file or
            folder that is called like a corpus is written ./NAME.
        out: The directory to make.
        tokenizer: `bpe` trains one on this text, `byte` takes bytes, anything else is the path of a tokenizer.json.
            Token files need the one they were made with, or what is known of it: `gpt2-like` (50257 ids, the last is
            end-of-text) or `ids` (with `vocab_size`); then bits per byte are not known.
        vocab_size: For `bpe`, end-of-text included, None meaning 2048; for `ids`, the number of ids.
        column: Where the text stands in tables and Hugging Face rows; None means `text`.
        subset: Configuration of a Hugging Face dataset, such as `sample-10BT`.
        split: Split of a Hugging Face dataset to read; None means `train`.
        limit_bytes: Stop before the training text exceeds this many bytes.
        validation_fraction: Share of the documents to hold out; None means 1 %, more for less than 25 MB so as to hold
            out about 250 kB, at most 10 %.
        dtype: How bare token ids are stored: `uint16` or `uint32`.
        end_of_text: For `ids`, the one that ends a document; None if there is none.
        shard_tokens: Tokens per shard file; memory use is a few bytes per token of one shard.
        tokenizer_bytes: How much text, from the start of the training side, the tokenizer is trained on.
        root: Data directory for corpora by name; None means $LOGCLOCK_DATA, else ~/.cache/logclock.
        force: Make it anew even if `out` holds a dataset, with these or other settings.
        progress: Called with one line per stage.

    Raises:
        FileNotFoundError: The source names nothing that exists.
        ValueError: `out` holds something else, an option has no effect or is out of range, or the text is unusable.
        RuntimeError: A download fails.
    """
    out = Path(out).expanduser().absolute()
    wanted = _wanted_tokenizer(tokenizer, vocab_size, tokenizer_bytes, end_of_text)
    files = _token_files(source, wanted, dtype)
    text: TextSource | TokenSource
    if files:
        _refuse_options(source, column=column, subset=subset, split=split)
        text = open_tokens(
            files,
            source,
            tokenizer=wanted.ready,
            dtype=dtype,
            limit_bytes=limit_bytes,
            validation_fraction=validation_fraction,
        )
    else:
        text = open_source(
            source,
            column=column,
            subset=subset,
            split=split,
            limit_bytes=limit_bytes,
            validation_fraction=validation_fraction,
            root=root,
            progress=progress,
        )
    if isinstance(wanted.ready, BpeTokenizer):
        for line in wanted.ready.switched_off:
            progress(line)
    settings = {"source": text.description, "tokenizer": wanted.settings, "shard_tokens": shard_tokens}
    reason = _why_not_finished(out, settings)
    if reason is None and not force:
        return out
    if reason and not force:
        raise ValueError(f"{out} holds a dataset, but {reason}. Choose another directory, or replace it with force.")
    return _build(out, text, wanted, settings, progress)


def ensure_dataset(
    corpus: str,
    *,
    tokenizer: str = "bpe",
    vocab_size: int | None = None,
    root: str | Path | None = None,
    progress: Progress = print,
) -> Path:
    """Return the dataset of a corpus under the data root, getting and preparing what is missing.

    It lies in `ROOT/datasets/CORPUS-TOKENIZER-VOCABULARY`. If the corpus has changed since (another Python for
    `stdlib`, a newer recipe) or a file is damaged, it is prepared again and a line says so.

    Args:
        corpus: `essentials`, `stdlib` or `synthetic`.
        tokenizer: `bpe` or `byte`.
        vocab_size: For `bpe` only; None means 2048.
        root: Data directory; None means $LOGCLOCK_DATA, else ~/.cache/logclock.
        progress: Called with one line per stage.
    """
    if tokenizer not in ("bpe", "byte"):
        raise ValueError(f"tokenizer must be 'bpe' or 'byte', got {tokenizer!r}. `prepare` takes others by path.")
    wanted = _wanted_tokenizer(tokenizer, vocab_size, TOKENIZER_BYTES, None)
    text = open_source(get_corpus(corpus, root=root, progress=progress))
    out = data_root(root) / "datasets" / f"{corpus}-{tokenizer}-{wanted.settings['vocab_size']}"
    settings = {"source": text.description, "tokenizer": wanted.settings, "shard_tokens": SHARD_TOKENS}
    reason = _why_not_finished(out, settings)
    if reason is None:
        return out
    if reason:  # this directory is ours to replace: its name promises the corpus as it is now
        progress(f"preparing {out} again: {reason}")
    return _build(out, text, wanted, settings, progress)


def dataset_name(source: str, tokenizer: str, vocab_size: int | None) -> str:
    """Return what a dataset is called if the user does not say: SOURCE-TOKENIZER-VOCABULARY."""
    size = KNOWN_VOCABULARIES.get(tokenizer, DEFAULT_BPE_VOCABULARY if tokenizer == "bpe" else None)
    name = Path(source).expanduser().absolute().name.partition(".")[0] or "dataset"
    return "-".join(str(part) for part in (name, Path(tokenizer).stem, vocab_size or size) if part)


@dataclass(frozen=True, slots=True)
class _WantedTokenizer:
    """What tokenizer was asked for, as plain data, and the tokenizer unless it is to be trained on the text."""

    settings: dict[str, Any]
    ready: Tokenizer | None

    def make(self, texts: Iterator[str], progress: Progress) -> Tokenizer:
        """Return the tokenizer, training it if it is not there."""
        if self.ready is not None:
            return self.ready
        progress(f"training a byte-level BPE of {self.settings['vocab_size']} ids")
        return train_bpe(texts, vocab_size=self.settings["vocab_size"])


def _wanted_tokenizer(
    tokenizer: str | Path, vocab_size: int | None, tokenizer_bytes: int, end_of_text: int | None
) -> _WantedTokenizer:
    if tokenizer == "ids":
        if vocab_size is None:
            raise ValueError("tokenizer='ids' needs vocab_size, the number of ids. Give it, and end_of_text if any.")
        return _declared(IdTokenizer(vocab_size, end_of_text))
    if end_of_text is not None and (tokenizer, end_of_text) != ("gpt2-like", GPT2_VOCABULARY - 1):
        raise ValueError(
            f"end_of_text={end_of_text} has no effect on tokenizer={str(tokenizer)!r}, which has its own. Leave it out."
        )
    if vocab_size is not None and tokenizer != "bpe":
        has = KNOWN_VOCABULARIES.get(str(tokenizer), "the one in its file")
        if vocab_size != has:
            raise ValueError(
                f"vocab_size={vocab_size} has no effect on tokenizer={str(tokenizer)!r}, whose vocabulary is {has}. "
                f"Leave it out."
            )
    if tokenizer == "gpt2-like":
        return _declared(IdTokenizer(GPT2_VOCABULARY, GPT2_VOCABULARY - 1))
    if tokenizer == "byte":
        return _WantedTokenizer({"kind": "byte", "vocab_size": ByteTokenizer.vocab_size}, ByteTokenizer())
    if tokenizer != "bpe":
        ready = load_tokenizer(tokenizer)
        if isinstance(ready, IdTokenizer):
            return _declared(ready)
        return _WantedTokenizer({"kind": "file", "sha256": ready.sha256}, ready)
    size = DEFAULT_BPE_VOCABULARY if vocab_size is None else vocab_size
    if not 257 <= size <= MAX_VOCABULARY:
        raise ValueError(
            f"vocab_size must lie in [257, {MAX_VOCABULARY}] for a byte-level BPE in 16-bit shards, got {size}."
        )
    if tokenizer_bytes < 1:
        raise ValueError(f"tokenizer_bytes must be at least 1, got {tokenizer_bytes}.")
    return _WantedTokenizer({"kind": "bpe", "vocab_size": size, "tokenizer_bytes": tokenizer_bytes}, None)


def _declared(ready: IdTokenizer) -> _WantedTokenizer:
    return _WantedTokenizer({"kind": "ids", "vocab_size": ready.vocab_size, "end_of_text": ready.end_of_text}, ready)


def _token_files(source: str | Path, wanted: _WantedTokenizer, dtype: str | None) -> list[Path]:
    """Return the token files that a source names; none if it names text.

    Raises:
        ValueError: It is a dataset already, or the other arguments are for tokens and it names none.
    """
    if isinstance(source, str) and source in CORPORA:
        files = []
    elif (Path(source).expanduser() / "dataset.json").is_file():
        raise ValueError(
            f"{source} is a dataset already. Train on it: `--set data.dataset={Path(source).expanduser().absolute()}`."
        )
    else:
        files = find_token_files(source, is_declared=dtype is not None or isinstance(wanted.ready, IdTokenizer))
    if not files and dtype is not None:
        raise ValueError(f"dtype={dtype!r} has no effect on {str(source)!r}, which names no token file. Leave it out.")
    if not files and isinstance(wanted.ready, IdTokenizer):
        raise ValueError(
            f"{str(source)!r} names no token file, and the tokenizer has ids alone, so it cannot encode text. Give "
            "'bpe', 'byte' or the path of a tokenizer.json."
        )
    return files


def _refuse_options(source: str | Path, **options: str | None) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise ValueError(f"{', '.join(given)} has no effect on {str(source)!r}: it holds token ids. Leave it out.")


def _why_not_finished(out: Path, settings: dict[str, Any]) -> str | None:
    """Return None if `out` is the dataset asked for, "" if nothing is there, else what is wrong with the one there.

    Raises:
        ValueError: `out` holds something that is no dataset and must not be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return ""
    if not (out / "dataset.json").is_file():
        raise ValueError(f"{out} exists and is no dataset; it is left alone. Choose another directory.")
    try:
        Dataset.open(out)
        found = read_description(out)["settings"]
    except (ValueError, FileNotFoundError) as error:
        return f"it is damaged: {error}"
    return None if found == settings else f"it was made otherwise: {_differences(found, settings)}"


def _build(
    out: Path,
    source: TextSource | TokenSource,
    wanted: _WantedTokenizer,
    settings: dict[str, Any],
    progress: Progress,
) -> Path:
    left_out: Counter[str] = Counter()
    if isinstance(source, TokenSource):
        tokenizer = source.tokenizer
        documents = source.documents()
        progress(f"copying the tokens of {source.place}, {tokenizer.vocab_size} ids")
    else:
        tokenizer = wanted.make(_training_texts(source, wanted.settings.get("tokenizer_bytes", 0)), progress)
        documents = _encoded(source, tokenizer, left_out)
        progress(f"encoding {source.place} with {tokenizer.vocab_size} ids")
    with building(out) as partial:
        tokenizer.save(partial / "tokenizer.json")
        counts = _write_shards(source, documents, tokenizer, partial, settings["shard_tokens"])
        _write_description(partial, tokenizer, counts, settings, left_out)
    _report(out, counts, left_out, progress)
    return out


def _differences(found: dict[str, Any], settings: dict[str, Any]) -> str:
    changed = []
    for part in settings:
        old, new = found.get(part), settings[part]
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            keys = [key for key in (*new, *(set(old) - set(new))) if old.get(key) != new.get(key)]
            changed += [f"{part} {key} {_short(old.get(key))}, now {_short(new.get(key))}" for key in keys]
        else:
            changed.append(f"{part} {_short(old)}, now {_short(new)}")
    return "; ".join(changed)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _training_texts(source: TextSource, limit_bytes: int) -> Iterator[str]:
    left = limit_bytes
    for is_validation, text in source.documents():
        if is_validation:
            continue
        yield text
        left -= len(text.encode())
        if left <= 0:
            return


def _encoded(source: TextSource, tokenizer: Tokenizer, left_out: Counter[str]) -> Iterator[tuple[bool, np.ndarray]]:
    """Yield every document's side and ids with end-of-text.

    Raises:
        ValueError: The ids do not stand for as many bytes as the document has.
    """
    bytes_of_id = tokenizer.token_bytes()
    assert bytes_of_id is not None  # a tokenizer that encodes knows its text
    for batch in _batches(source.documents(left_out)):
        encoded = tokenizer.encode_documents([text for _, text in batch])
        for (is_validation, text), ids in zip(batch, encoded, strict=True):
            num_bytes = int(bytes_of_id[ids].sum())
            if num_bytes != len(text.encode()):
                raise ValueError(
                    f"{source.place}: the tokenizer turns a document of {len(text.encode())} bytes into ids of "
                    f"{num_bytes}, so it loses text. It begins {text[:40]!r}. Use another tokenizer."
                )
            yield is_validation, np.append(ids, ids.dtype.type(tokenizer.end_of_text))


def _write_shards(
    source: TextSource | TokenSource,
    documents: Iterator[tuple[bool, np.ndarray]],
    tokenizer: Tokenizer,
    directory: Path,
    shard_tokens: int,
) -> dict[str, dict[str, Any]]:
    """Write ids into the shards of their side, read those back, and return the counts of both."""
    writers = {
        part: ShardWriter(directory, part, vocab_size=tokenizer.vocab_size, shard_tokens=shard_tokens)
        for part in ("train", "val")
    }
    bytes_of_id, end_of_text = tokenizer.token_bytes(), tokenizer.end_of_text
    counts: dict[str, dict[str, Any]] = {
        part: {"documents": 0, "bytes": None if bytes_of_id is None else 0} for part in writers
    }
    for is_validation, ids in documents:
        part = "val" if is_validation else "train"
        writers[part].append(ids)
        counts[part]["documents"] += 1 if end_of_text is None else int(np.count_nonzero(ids == end_of_text))
        if bytes_of_id is not None:
            counts[part]["bytes"] += int(bytes_of_id[ids].sum())
    for part, writer in writers.items():
        if not writer.num_tokens:
            raise ValueError(_nothing_for(part, source, counts))
        counts[part]["tokens"] = writer.num_tokens
        counts[part]["shards"] = [
            _verified(path, sha256) for path, sha256 in zip(writer.close(), writer.sha256s, strict=True)
        ]
    return counts


def _verified(path: Path, sha256: str) -> dict[str, Any]:
    """Read a shard back and return what is remembered of it."""
    if file_sha256(path) != sha256:
        raise RuntimeError(f"{path} does not hold what was written to it a moment ago. Check the disk, then try again.")
    return describe_file(path, sha256=sha256)


def _nothing_for(part: str, source: TextSource | TokenSource, counts: dict[str, dict[str, Any]]) -> str:
    total = sum(count["documents"] for count in counts.values())
    side, remedy = ("training", "lower") if part == "train" else ("validation", "raise")
    return (
        f"{source.place}: none of {total} documents is left for {side}. Give more text, or {remedy} "
        f"validation_fraction (it is {source.description.get('validation_fraction', 'fixed by the corpus')}; "
        f"limit_bytes is {source.description.get('limit_bytes')})."
    )


def _batches(documents: Iterator[tuple[bool, str]]) -> Iterator[list[tuple[bool, str]]]:
    """Group documents into about a million characters: enough to keep all cores of the encoder busy."""
    batch: list[tuple[bool, str]] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document[1])
        if size >= BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_description(
    directory: Path,
    tokenizer: Tokenizer,
    counts: dict[str, dict[str, Any]],
    settings: dict[str, Any],
    left_out: Counter[str],
) -> None:
    description = {
        "format": DATASET_FORMAT,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer_sha256": tokenizer.sha256,
        **counts,
        "left_out": dict(left_out),
        "settings": settings,
    }
    description["fingerprint"] = shards_fingerprint(description)
    (directory / "dataset.json").write_text(json.dumps(description, indent=1) + "\n")


def _report(out: Path, counts: dict[str, dict[str, Any]], left_out: Counter[str], progress: Progress) -> None:
    train, val = counts["train"], counts["val"]
    per_token = (
        "bytes per token not known"
        if train["bytes"] is None
        else (f"{train['bytes'] / train['tokens']:.2f} bytes per token")
    )
    progress(f"{out}: {train['tokens']} training and {val['tokens']} validation tokens, {per_token}")
    if left_out["null"]:
        progress(f"left out {left_out['null']} records without text (null)")
