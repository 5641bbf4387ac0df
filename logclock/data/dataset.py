"""What does training see of a dataset directory?"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from logclock.data.packages import file_sha256
from logclock.data.shards import REMEDY, TokenShards
from logclock.data.tokenize import Tokenizer, load_tokenizer

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
        token_bytes: Number of UTF-8 bytes each id stands for, 0 for end-of-text.
        fingerprint: Hash of every token and of the tokenizer; equal where training sees the same data.
        tokenizer: For decoding samples.
    """

    directory: Path
    vocab_size: int
    train: TokenShards
    validation: TokenShards
    token_bytes: np.ndarray
    fingerprint: str
    tokenizer: Tokenizer

    @classmethod
    def open(cls, directory: str | Path) -> "Dataset":
        """Open what `prepare` made, checking headers, sizes and token counts, but not reading the tokens.

        Raises:
            FileNotFoundError: The directory, or a file of it, is missing.
            ValueError: A file is damaged, or does not belong to this dataset.
        """
        directory = Path(directory).expanduser().absolute()
        description = read_description(directory)
        tokenizer = load_tokenizer(directory / "tokenizer.json")
        if tokenizer.sha256 != description["tokenizer_sha256"]:
            raise ValueError(f"{directory / 'tokenizer.json'} is not the one the shards were made with. {REMEDY}")
        streams = {part: _open_stream(directory, part, description) for part in ("train", "val")}
        return cls(
            directory=directory,
            vocab_size=description["vocab_size"],
            train=streams["train"],
            validation=streams["val"],
            token_bytes=tokenizer.token_bytes(),
            fingerprint=description["fingerprint"],
            tokenizer=tokenizer,
        )

    def verify(self) -> None:
        """Read every shard and compare it with its recorded sha256.

        Raises:
            ValueError: A shard has changed since it was written.
        """
        description = read_description(self.directory)
        for part in ("train", "val"):
            for shard in description[part]["shards"]:
                if file_sha256(self.directory / shard["file"]) != shard["sha256"]:
                    raise ValueError(f"{self.directory / shard['file']} has changed since it was written. {REMEDY}")


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


def _open_stream(directory: Path, part: str, description: dict[str, Any]) -> TokenShards:
    paths = [directory / shard["file"] for shard in description[part]["shards"]]
    stream = TokenShards(paths, vocab_size=description["vocab_size"])
    if len(stream) != description[part]["tokens"]:
        raise ValueError(
            f"{directory}: the {part} shards hold {len(stream)} tokens, dataset.json says "
            f"{description[part]['tokens']}. {REMEDY}"
        )
    return stream
