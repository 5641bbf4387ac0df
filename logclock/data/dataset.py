"""What does training see of a dataset directory?"""

import contextlib
import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from logclock.config.files import write_whole
from logclock.data.integrity import describe_file, why_changed, why_suspect
from logclock.data.packages import file_sha256
from logclock.data.shards import REMEDY, TokenShards
from logclock.data.tokenize import BpeTokenizer, Tokenizer, load_tokenizer

__all__ = ["DATASET_FORMAT", "Dataset", "read_description", "shards_fingerprint"]

DATASET_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened dataset directory; `Dataset.open` makes it.

    Attributes:
        directory: Where it lies.
        vocab_size: Number of token ids.
        train: The training tokens as one stream.
        validation: The validation tokens as one stream.
        token_bytes: Number of UTF-8 bytes each id stands for, 0 for end-of-text; None if only ids are known.
        fingerprint: Hash of every token and of the tokenizer; equal where training sees the same data.
        tokenizer: For decoding samples.
        checked: How far the shards were compared with what was written: `sampled` or `whole`.
    """

    directory: Path
    vocab_size: int
    train: TokenShards
    validation: TokenShards
    token_bytes: np.ndarray | None
    fingerprint: str
    tokenizer: Tokenizer
    checked: Literal["sampled", "whole"]

    @classmethod
    def open(cls, directory: str | Path, *, verify: bool = False) -> "Dataset":
        """Open what `prepare` made, checking headers, counts, sizes, times of change and a few blocks of every shard.

        A shard with another time of change, such as a copy, is read as a whole once, and its new time noted.

        Args:
            directory: Where it lies.
            verify: Read every shard as a whole.

        Raises:
            FileNotFoundError: The directory, or a file of it, is missing.
            ValueError: A file is damaged, has changed, or does not belong to this dataset.
        """
        directory = Path(directory).expanduser().absolute()
        description = read_description(directory)
        tokenizer = _open_tokenizer(directory / "tokenizer.json", description["tokenizer_sha256"])
        streams = {part: _open_stream(directory, part, description) for part in ("train", "val")}
        checked = _check_shards(directory, description, reads_all=verify)
        return cls(
            directory=directory,
            vocab_size=description["vocab_size"],
            train=streams["train"],
            validation=streams["val"],
            token_bytes=tokenizer.token_bytes(),
            fingerprint=description["fingerprint"],
            tokenizer=tokenizer,
            checked=checked,
        )

    def verify(self) -> None:
        """Read every shard and compare it with its recorded sha256.

        Raises:
            ValueError: A shard has changed since it was written.
        """
        _check_shards(self.directory, read_description(self.directory), reads_all=True)


def read_description(directory: Path) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    Raises:
        FileNotFoundError: The directory is missing or is no finished dataset.
        ValueError: The file is damaged or of another format.
    """
    path = directory / "dataset.json"
    if not path.is_file():
        state = "holds no dataset.json, so it is no finished dataset" if directory.is_dir() else "does not exist"
        raise FileNotFoundError(f"{directory} {state}. Make one: `logclock data prepare SOURCE {directory}`.")
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). {REMEDY}") from None
    if not isinstance(description, dict) or description.get("format") != DATASET_FORMAT:
        raise ValueError(f"{path} is not of format {DATASET_FORMAT}, the one this version reads. {REMEDY}")
    if description.get("fingerprint") != shards_fingerprint(description):
        raise ValueError(f"{path} was edited: its fingerprint does not fit the rest. {REMEDY}")
    return description


def shards_fingerprint(description: dict[str, Any]) -> str:
    """Hash what determines the token streams: their content and the tokenizer, not paths, names or settings."""
    try:
        content = {
            "tokenizer": description["tokenizer_sha256"],
            "vocab_size": description["vocab_size"],
            **{part: [shard["sha256"] for shard in description[part]["shards"]] for part in ("train", "val")},
        }
    except (KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _open_tokenizer(path: Path, sha256: str) -> Tokenizer:
    tokenizer = load_tokenizer(path)
    if file_sha256(path) != sha256:
        raise ValueError(f"{path} is not the one the shards were made with. {REMEDY}")
    if isinstance(tokenizer, BpeTokenizer) and tokenizer.switched_off:
        raise ValueError(
            f"{path.parent} was made by an earlier version that obeyed a setting of the tokenizer: "
            f"{'; '.join(tokenizer.switched_off)} now. {REMEDY}"
        )
    return tokenizer


def _check_shards(directory: Path, description: dict[str, Any], *, reads_all: bool) -> Literal["sampled", "whole"]:
    """Compare every shard with what was written, and note the blocks and times of those that were read as a whole."""
    noted = copy.deepcopy(description)
    num_suspect = num_whole = 0
    for shard in (shard for part in ("train", "val") for shard in noted[part]["shards"]):
        path = directory / shard["file"]
        suspicion = why_suspect(path, shard)
        if suspicion is None and not reads_all:
            continue
        if wrong := why_changed(path, shard):
            because = f" ({suspicion})" if suspicion else ""
            raise ValueError(f"{path} has changed since it was written: {wrong}{because}. {REMEDY}")
        num_whole += 1
        if suspicion is not None:
            num_suspect += 1
            shard |= describe_file(path, sha256=shard["sha256"])
    if num_suspect:
        _note(directory / "dataset.json", description, noted)
    return "whole" if num_whole == sum(len(noted[part]["shards"]) for part in ("train", "val")) else "sampled"


def _note(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Replace a description; where that is not allowed, the next opening reads the shards once more."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text()) == old:  # otherwise the dataset was made anew meanwhile
            write_whole(path, (json.dumps(new, indent=1) + "\n").encode(), durable=True)


def _open_stream(directory: Path, part: str, description: dict[str, Any]) -> TokenShards:
    paths = [directory / shard["file"] for shard in description[part]["shards"]]
    stream = TokenShards(paths, vocab_size=description["vocab_size"])
    if len(stream) != description[part]["tokens"]:
        raise ValueError(
            f"{directory}: the {part} shards hold {len(stream)} tokens, dataset.json says "
            f"{description[part]['tokens']}. {REMEDY}"
        )
    return stream
