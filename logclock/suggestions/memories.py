"""What do published rules say about the memory of averages, schedules, and the scale of adapters?"""

import math

from logclock.suggestions.decays import EVERETT_QIU, EVERETT_RANGES
from logclock.suggestions.rule import Range, Rule, Situation, given

__all__ = ["MEMORIES"]

MARIN = "marin, public records #6044, #2447 and #4567"

PROTOTYPE = "a prototype of ours, November 2026: 305 runs of one micro model"

END_TO_END = (
    "A power between its two ends, 1 and 128 times 20 tokens per parameter; what lies between was not found. beta = 1 "
    "- 1/M for both averages.",
)


def _grown(first: float, last: float) -> "dict[str, object]":
    """Return formula and computation of a memory that goes from `first` at f = 1 to `last` at f = 128."""
    exponent = math.log(last / first) / math.log(128)

    def compute(situation: Situation) -> float:
        return first * math.pow(given(situation.overtraining), exponent)

    return {"formula": f"{first:g} (tokens / 20 P)^{exponent:.2f} updates", "compute": compute}


def _share_of_run(situation: Situation) -> tuple[float, float]:
    total_steps = given(situation.total_steps)
    return max(total_steps / 200, 1.0), max(total_steps / 100, 1.0)


def _marin_beta2(situation: Situation) -> float:
    return min(max(math.pow(0.999, given(situation.batch_tokens) / 131_072), 0.95), 0.9999)


def _lr_shape(situation: Situation) -> str:
    overtraining = given(situation.overtraining)
    if overtraining <= 1:
        return "linear to 0"
    return "cosine to 0" if overtraining >= 8 else "linear or cosine to 0"


MEMORIES: tuple[Rule, ...] = (
    Rule(
        name="beta2-half-life",
        sets="memory",
        optimizers=("adamw",),
        gives="beta2, same half-life in tokens",
        formula="beta2_0^(B / B0)",
        inputs=("base_beta2", "base_batch_tokens", "batch_tokens"),
        compute=lambda run: given(run.base_beta2) ** (given(run.batch_tokens) / given(run.base_batch_tokens)),
        source="Marek et al. 2025, arXiv:2507.07101, abstract",
    ),
    Rule(
        name="marin-beta2",
        sets="memory",
        optimizers=("adamw",),
        gives="beta2, marin",
        formula="0.999^(B / 131,072), between 0.95 and 0.9999",
        inputs=("batch_tokens",),
        compute=_marin_beta2,
        ranges=(Range(what="width", low=768, high=1024), Range(what="sequence_length", low=4096, high=4096)),
        source=MARIN,
        notes=(
            "With beta1 0.9062. Best of their grid at 64, 128, 256, 512 sequences: 0.995, 0.995, 0.97, 0.95 (width "
            "1024) and 0.995, 0.99, 0.99 (768); the wrong end costs 0.005 to 0.009 bits per byte, and below 0.95 runs "
            "spike.",
        ),
    ),
    Rule(
        name="marin-eps",
        sets="memory",
        optimizers=("adamw",),
        gives="eps, marin",
        formula="9.676e-18 sqrt((131,072 / B) (tokens / 1.4e9))",
        inputs=("batch_tokens", "tokens"),
        compute=lambda run: 9.676e-18 * ((131_072 / given(run.batch_tokens)) * (given(run.tokens) / 1.4e9)) ** 0.5,
        source=MARIN,
    ),
    Rule(
        name="adamw-memory-by-horizon",
        sets="memory",
        optimizers=("adamw",),
        gives="M in updates",
        inputs=("overtraining",),
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=END_TO_END,
        **_grown(20, 1280),  # type: ignore[arg-type]
    ),
    Rule(
        name="adamw-memory-by-length",
        sets="memory",
        optimizers=("adamw",),
        gives="M in updates, share of the run",
        formula="T / 200 to T / 100",
        inputs=("total_steps",),
        compute=_share_of_run,
        ranges=(Range(what="total_steps", low=1945, high=249_000),),
        source=f"{EVERETT_QIU}; our arithmetic",
        notes=("1 % of the run at 20 tokens per parameter, 0.5 % at 128 times that. ADANA remembers t / 8.",),
    ),
    Rule(
        name="muon-memory-by-horizon",
        sets="memory",
        optimizers=("muon",),
        gives="M in updates",
        inputs=("overtraining",),
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=END_TO_END,
        **_grown(20, 640),  # type: ignore[arg-type]
    ),
    Rule(
        name="soap-memory-by-horizon",
        sets="memory",
        optimizers=("soap",),
        gives="M in updates",
        inputs=("overtraining",),
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=END_TO_END,
        **_grown(40, 1280),  # type: ignore[arg-type]
    ),
    Rule(
        name="adana-paper-memory",
        sets="memory",
        optimizers=("adana", "dana-mk4", "dana-star-mk4"),
        gives="delta and kappa",
        formula="an average of t / delta updates, gain (1 + t)^(1 - kappa)",
        inputs=(),
        compute=lambda run: "delta 8, kappa 0.85",
        ranges=(Range(what="batch_tokens", low=65_536, high=65_536),),
        source="Ferbach et al. 2026, arXiv:2602.05298",
        notes=(
            "Kappa 0.75 to 0.9 worked; a smaller one wants a smaller rate. At 512 x 2048 tokens ADANA lost to AdamW up "
            "to 1,342 updates (their later notes): the gain does not know the batch.",
        ),
    ),
    Rule(
        name="short-memory",
        sets="memory",
        optimizers=("adamw", "adana-mix"),
        gives="M of beta1 in updates",
        formula="T / 50, between 1 and 10, with beta2 0.999",
        inputs=("total_steps",),
        compute=lambda run: min(max(given(run.total_steps) / 50, 1.0), 10.0),
        ranges=(Range(what="params", low=12_288, high=12_288), Range(what="total_steps", low=28, high=220)),
        source=PROTOTYPE,
        notes=("A hypothesis, not a result.",),
        is_main=False,
    ),
    Rule(
        name="lr-shape",
        sets="schedule",
        gives="decay of the learning rate",
        formula="linear to 0 at 20 tokens per parameter, cosine to 0 from 8 times that on",
        inputs=("overtraining",),
        compute=_lr_shape,
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=("Which wins between 1 and 8 times was not found: both are named there.",),
    ),
    Rule(
        name="muon-momentum",
        sets="schedule",
        optimizers=("muon",),
        gives="momentum in speed runs",
        formula="up over the first updates, down at the end",
        inputs=(),
        compute=lambda run: (
            "0.85 to 0.95 over 300 updates, back over the last 50 to 200 (modded-nanogpt); 0.85 to 0.97 over 400, to "
            "0.90 over the warm-down (nanochat)"
        ),
        source="modded-nanogpt and nanochat, released code",
        notes=("A higher beta2 in the cooldown is reported to help AdamW (arXiv:2508.01483, abstract).",),
    ),
    Rule(
        name="lora-alpha",
        sets="fine_tuning",
        gives="alpha of a low-rank adapter",
        formula="alpha0 sqrt(r / r0)",
        inputs=("lora_rank", "base_lora_rank", "base_lora_alpha"),
        compute=lambda run: given(run.base_lora_alpha) * (given(run.lora_rank) / given(run.base_lora_rank)) ** 0.5,
        source="arXiv:2606.12883, abstract",
        notes=(
            "The law is C sqrt(r). C was not found: one page says about 256, another far less; so it is relative to an "
            "alpha that is known to be good. With a small rate, as in full fine-tuning.",
        ),
    ),
)
"""Rules of this file."""
