"""How does text, whatever it comes from, become a dataset directory that training can map into memory?

A dataset directory holds `train_*.bin`, `val_*.bin`, `tokenizer.json` and `dataset.json`. It is built under a hidden
name and renamed when complete, so a directory with a `dataset.json` is a whole dataset.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logclock.data.atomic import building
from logclock.data.corpora import data_root, get_corpus
from logclock.data.dataset import DATASET_FORMAT, Dataset, read_description, shards_fingerprint
from logclock.data.packages import file_sha256
from logclock.data.shards import MAX_VOCABULARY, ShardWriter
from logclock.data.sources import TextSource, open_source
from logclock.data.tokenize import ByteTokenizer, Tokenizer, load_tokenizer, train_bpe

__all__ = ["ensure_dataset", "prepare"]

DEFAULT_BPE_VOCABULARY = 2048
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
    shard_tokens: int = SHARD_TOKENS,
    tokenizer_bytes: int = TOKENIZER_BYTES,
    root: str | Path | None = None,
    force: bool = False,
    progress: Progress = print,
) -> Path:
    """Turn text into a dataset of token shards, unless it is there already, and return its directory.

    Every document is followed by one end-of-text token. A corpus keeps its own split; elsewhere a document is held out
    when the hash of its text says so, so equal texts never stand on both sides. (Nearly equal ones can: only corpora
    are cleared of those.) The tokenizer is trained on the training side alone.

    Args:
        source: A corpus by name, a corpus directory, a text file, a folder of text files (.txt, .text, .md, .rst,
            .jsonl, .parquet), a JSONL or Parquet file, or a Hugging Face id such as HuggingFaceFW/fineweb, which is
            streamed. A file or folder that is called like a corpus is written ./NAME.
        out: The directory to make.
        tokenizer: `bpe` trains one on this text, `byte` takes bytes, anything else is the path of a tokenizer.json.
        vocab_size: For `bpe` only, end-of-text included; None means 2048.
        column: Where the text stands in JSONL, Parquet and Hugging Face rows; None means `text`.
        subset: Configuration of a Hugging Face dataset, such as `sample-10BT`.
        split: Split of a Hugging Face dataset to read; None means `train`.
        limit_bytes: Stop before the training text exceeds this many bytes.
        validation_fraction: Share of the documents to hold out; None means 1 %, more for less than 25 MB so as to hold
            out about 250 kB, at most 10 %.
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
    wanted = _wanted_tokenizer(tokenizer, vocab_size, tokenizer_bytes)
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
    wanted = _wanted_tokenizer(tokenizer, vocab_size, TOKENIZER_BYTES)
    text = open_source(get_corpus(corpus, root=root, progress=progress))
    out = data_root(root) / "datasets" / f"{corpus}-{tokenizer}-{wanted.settings['vocab_size']}"
    settings = {"source": text.description, "tokenizer": wanted.settings, "shard_tokens": SHARD_TOKENS}
    reason = _why_not_finished(out, settings)
    if reason is None:
        return out
    if reason:  # this directory is ours to replace: its name promises the corpus as it is now
        progress(f"preparing {out} again: {reason}")
    return _build(out, text, wanted, settings, progress)


@dataclass(frozen=True, slots=True)
class _WantedTokenizer:
    """What tokenizer was asked for, as plain data, and how to get it from training text."""

    settings: dict[str, Any]
    make: Callable[[Iterator[str], Progress], Tokenizer]


def _wanted_tokenizer(tokenizer: str | Path, vocab_size: int | None, tokenizer_bytes: int) -> _WantedTokenizer:
    if vocab_size is not None and tokenizer != "bpe":
        has = ByteTokenizer.vocab_size if tokenizer == "byte" else "the one in its file"
        if vocab_size != has:
            raise ValueError(
                f"vocab_size={vocab_size} has no effect on tokenizer={str(tokenizer)!r}, whose vocabulary is {has}. "
                f"Leave it out."
            )
    if tokenizer == "byte":
        byte = ByteTokenizer()
        return _WantedTokenizer({"kind": "byte", "vocab_size": byte.vocab_size}, lambda texts, progress: byte)
    if tokenizer != "bpe":
        ready = load_tokenizer(tokenizer)
        return _WantedTokenizer({"kind": "file", "sha256": ready.sha256}, lambda texts, progress: ready)
    size = DEFAULT_BPE_VOCABULARY if vocab_size is None else vocab_size
    if not 257 <= size <= MAX_VOCABULARY:
        raise ValueError(
            f"vocab_size must lie in [257, {MAX_VOCABULARY}] for a byte-level BPE in 16-bit shards, got {size}."
        )
    if tokenizer_bytes < 1:
        raise ValueError(f"tokenizer_bytes must be at least 1, got {tokenizer_bytes}.")

    def train(texts: Iterator[str], progress: Progress) -> Tokenizer:
        progress(f"training a byte-level BPE of {size} ids")
        return train_bpe(texts, vocab_size=size)

    return _WantedTokenizer({"kind": "bpe", "vocab_size": size, "tokenizer_bytes": tokenizer_bytes}, train)


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


def _build(out: Path, text: TextSource, wanted: _WantedTokenizer, settings: dict[str, Any], progress: Progress) -> Path:
    tokenizer = wanted.make(_training_texts(text, wanted.settings.get("tokenizer_bytes", 0)), progress)
    progress(f"encoding {text.place} with {tokenizer.vocab_size} ids")
    with building(out) as partial:
        tokenizer.save(partial / "tokenizer.json")
        counts = _write_shards(text, tokenizer, partial, settings["shard_tokens"])
        _write_description(partial, tokenizer, counts, settings)
    _report(out, counts, progress)
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


def _write_shards(
    source: TextSource, tokenizer: Tokenizer, directory: Path, shard_tokens: int
) -> dict[str, dict[str, Any]]:
    """Encode every document into the shards of its side and return the counts of both."""
    writers = {
        part: ShardWriter(directory, part, vocab_size=tokenizer.vocab_size, shard_tokens=shard_tokens)
        for part in ("train", "val")
    }
    counts: dict[str, dict[str, Any]] = {part: {"documents": 0, "bytes": 0} for part in writers}
    for batch in _batches(source.documents()):
        for (is_validation, text), ids in zip(
            batch, tokenizer.encode_documents([text for _, text in batch]), strict=True
        ):
            part = "val" if is_validation else "train"
            writers[part].append(np.append(ids, ids.dtype.type(tokenizer.end_of_text)))
            counts[part]["documents"] += 1
            counts[part]["bytes"] += len(text.encode())
    for part, writer in writers.items():
        if not writer.num_tokens:
            raise ValueError(_nothing_for(part, source, counts))
        counts[part]["tokens"] = writer.num_tokens
        counts[part]["shards"] = [{"file": path.name, "sha256": file_sha256(path)} for path in writer.close()]
    return counts


def _nothing_for(part: str, source: TextSource, counts: dict[str, dict[str, Any]]) -> str:
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
    directory: Path, tokenizer: Tokenizer, counts: dict[str, dict[str, Any]], settings: dict[str, Any]
) -> None:
    description = {
        "format": DATASET_FORMAT,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer_sha256": tokenizer.sha256,
        **counts,
        "settings": settings,
    }
    description["fingerprint"] = shards_fingerprint(description)
    (directory / "dataset.json").write_text(json.dumps(description, indent=1) + "\n")


def _report(out: Path, counts: dict[str, dict[str, Any]], progress: Progress) -> None:
    train, val = counts["train"], counts["val"]
    progress(
        f"{out}: {train['tokens']} training and {val['tokens']} validation tokens, "
        f"{train['bytes'] / train['tokens']:.2f} bytes per token"
    )
