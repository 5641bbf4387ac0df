"""What tests of several rooms share: a small dataset of invented text, and a run on it that takes no time."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import setuptools  # noqa: F401  torch.compile needs it, with its own distutils: before a test loads the standard one
import torch

if not torch.cuda.is_available():  # before anything imports Triton, whose own functions are made for one of the two
    os.environ.setdefault("TRITON_INTERPRET", "1")

SYLLABLES = ["ka", "lo", "mi", "ne", "ru", "sa", "to", "vi"]


def invented_documents(num_documents: int) -> list[str]:
    """Return texts made by integer arithmetic alone, the same on every machine and for ever."""
    words = [a + b for a in SYLLABLES for b in SYLLABLES]
    state, documents = 1, []
    for _ in range(num_documents):
        chosen = []
        for _ in range(120):
            state = (6364136223846793005 * state + 1442695040888963407) % 2**64
            # The high bits; the product makes small numbers, and so some words, more frequent.
            chosen.append(words[(state >> 40) % 64 * ((state >> 50) % 64) // 64])
        documents.append(" ".join(chosen) + ".")
    return documents


@pytest.fixture(scope="session")
def tiny_data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the dataset `tiny-byte-257`: about 140 kB of invented text, a byte a token."""
    from logclock.data import prepare

    root = tmp_path_factory.mktemp("data")
    source = root / "invented.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in invented_documents(200)))
    out = root / "datasets" / "tiny-byte-257"
    prepare(source, out, tokenizer="byte", validation_fraction=0.1, progress=lambda line: None)
    return root


@pytest.fixture(scope="session")
def tiny_run() -> Callable[..., Any]:
    """Return a function that makes a RunConfig on `tiny-byte-257`, with fields replaced."""
    from logclock.config import override
    from logclock.models import EnokiConfig
    from logclock.recipes import get_variant
    from logclock.recipes.protocol import study_schedule
    from logclock.train import DataConfig, EvaluationConfig, ExecutionConfig, RunConfig

    def make(*assignments: str, optimizer: str = "adana", steps: int = 24, **fields: Any) -> RunConfig:
        given = fields.pop("spec", None)
        config = RunConfig(
            model=EnokiConfig(heads=2, head_dim=8, num_layers=1, vocab_size=257),
            data=DataConfig(dataset="tiny-byte-257", batch_size=4, sequence_length=32),
            optimizer=get_variant(optimizer).build(steps, lr=5e-3) if given is None else given,
            lr_schedule=fields.pop("lr_schedule", None) or study_schedule(steps),
            total_steps=steps,
            evaluation=EvaluationConfig(interval=10, batches=2, batch_size=4),
            log_interval=5,
            execution=ExecutionConfig(device="cpu", checkpoint_interval=None),
            **fields,
        )
        return override(config, assignments)

    return make
