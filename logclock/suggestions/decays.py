"""What do published rules say about weight decay and its horizon?"""

import math

from logclock.suggestions.rule import Range, Rule, Situation, given

__all__ = ["DECAYS", "EVERETT_QIU"]

EVERETT_QIU = "Everett and Qiu 2026, arXiv:2609.04577, read at second hand"

EVERETT_RANGES = (
    Range(what="params", low=51e6, high=253e6),
    Range(what="overtraining", low=1, high=256),
    Range(what="batch_tokens", low=256 * 2048, high=256 * 2048),
)

UNIT_OF_C = (
    "That c is the omega of the ADANA paper, in lambda = c / T and c / (T/10 + t), was not confirmed and is assumed. "
    "That paper's 4 is then half of the best constant and twice the best log-time value at 20 tokens per parameter.",
)


def _power_lines(situation: Situation) -> float:
    base_budget = given(situation.base_tokens) / given(situation.base_params)
    budget = given(situation.tokens) / given(situation.params)
    lr = given(situation.base_lr) if situation.lr is None else situation.lr
    return (
        given(situation.base_weight_decay)
        * (given(situation.base_lr) / lr)
        * (given(situation.batch_tokens) / given(situation.base_batch_tokens))
        * (given(situation.base_tokens) / given(situation.tokens))
        * math.sqrt(budget / base_budget)
    )


def _nanochat(situation: Situation) -> float:
    batches = given(situation.batch_tokens) / given(situation.base_batch_tokens)
    horizon = given(situation.base_tokens) / given(situation.tokens)
    return given(situation.base_weight_decay) * math.sqrt(batches) * horizon


DECAYS: tuple[Rule, ...] = (
    Rule(
        name="robust-mup-decay",
        sets="decay",
        optimizers=("adamw",),
        gives="torch's weight_decay of matrices under muP",
        formula="wd0 sqrt(d / d0), with lr0 d0 / d",
        inputs=("base_weight_decay", "base_width", "width"),
        compute=lambda run: given(run.base_weight_decay) * (given(run.width) / given(run.base_width)) ** 0.5,
        ranges=(Range(what="width", low=256, high=2048),),
        source="arXiv:2510.15262",
        notes=(
            "Top singular values grow as sqrt(lr / wd) d^0.75, so this keeps the gain of a layer. Vectors and "
            "embeddings are not decayed. The product lr wd falls as d^-0.5: it is neither constant, as in independent "
            "decay, nor proportional to lr.",
        ),
    ),
    Rule(
        name="power-lines-decay",
        sets="decay",
        optimizers=("adamw",),
        gives="torch's weight_decay, Power Lines",
        formula="tau = B / (lr wd tokens), tau / tau0 = ((tokens / P) / (tokens0 / P0))^-0.5",
        inputs=(
            "base_lr",
            "base_weight_decay",
            "base_batch_tokens",
            "base_tokens",
            "base_params",
            "batch_tokens",
            "tokens",
            "params",
        ),
        compute=_power_lines,
        ranges=(Range(what="params", low=111e6, high=3.3e9),),
        source="Bergsma et al. 2025, arXiv:2505.13738",
        notes=(
            "The factor of the law was not found, so it is relative to a run that was tuned. Reviews give the exponent "
            "as -0.527; -0.5 is used. With the rate of the known run unless --lr says another.",
        ),
    ),
    Rule(
        name="nanochat-decay",
        sets="decay",
        optimizers=("muon",),
        gives="weight_decay, as nanochat scales it",
        formula="wd0 sqrt(B / B0) tokens0 / tokens",
        inputs=("base_weight_decay", "base_batch_tokens", "base_tokens", "batch_tokens", "tokens"),
        compute=_nanochat,
        source="nanochat, released code",
        notes=("With the rate growing as sqrt(B / B0). Stated for the whole model; its matrices are Muon's.",),
    ),
    Rule(
        name="adana-paper-omega",
        sets="decay",
        optimizers=("adana", "dana-mk4", "dana-star-mk4", "adamw-log-time-decay", "ademamix-log-time-decay"),
        gives="omega of log_time_decay(omega, total_steps=T)",
        formula="lambda(t) = 4 / (T/10 + t), times s(t) and not lr",
        inputs=(),
        compute=lambda run: 4.0,
        ranges=(
            Range(what="batch_tokens", low=65_536, high=65_536),
            Range(what="tokens_per_total_param", low=20, high=20),
        ),
        source="Ferbach et al. 2026, arXiv:2602.05298, released launcher",
        notes=(
            "AdamW has the constant 4 / T there. Values from 0.0625 to 8 were tried early on; no results were found. "
            "The paper's text writes omega / t.",
        ),
    ),
    Rule(
        name="horizon-constant-decay",
        sets="decay",
        optimizers=("adamw", "adana"),
        gives="omega of constant_decay(omega, total_steps=T)",
        formula="8 sqrt(tokens / 20 P)",
        inputs=("overtraining",),
        compute=lambda run: 8 * given(run.overtraining) ** 0.5,
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=UNIT_OF_C,
    ),
    Rule(
        name="horizon-log-time-decay",
        sets="decay",
        optimizers=("adamw", "adana"),
        gives="omega of log_time_decay(omega, total_steps=T)",
        formula="2 sqrt(tokens / 20 P)",
        inputs=("overtraining",),
        compute=lambda run: 2 * given(run.overtraining) ** 0.5,
        ranges=EVERETT_RANGES,
        source=EVERETT_QIU,
        notes=UNIT_OF_C,
    ),
    Rule(
        name="omega-by-noise",
        sets="decay",
        optimizers=("adana",),
        gives="omega of log_time_decay(omega, total_steps=T)",
        formula="4 while B is at most the noise scale, else 1",
        inputs=("batch_tokens", "noise_tokens"),
        compute=lambda run: 4.0 if given(run.batch_tokens) <= given(run.noise_tokens) else 1.0,
        ranges=(Range(what="params", low=12_288, high=12_288), Range(what="total_steps", low=28, high=220)),
        source="a prototype of ours, November 2026: 305 runs of one micro model",
        notes=("A hypothesis, not a result. The rule of the horizon above points the other way at a fixed batch.",),
        is_main=False,
    ),
)
"""Rules of this file."""
