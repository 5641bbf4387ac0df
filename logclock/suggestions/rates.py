"""What do published rules say about the peak learning rate?"""

import math
from collections.abc import Callable

from logclock.suggestions.adana_fits import ENOKI, ENOKI_LARGE_BATCH, QWEN3, Fits
from logclock.suggestions.lr_rule import LrRule
from logclock.suggestions.rule import Range, Rule, Situation, given

__all__ = ["MICRO_LADDER", "RATES"]

ADANA_PAPER = "Ferbach et al. 2026, arXiv:2602.05298, released scaling rules"

STUDY_SIZES = Range(what="params", low=7_077_888, high=509_607_936)
"""The sizes that the ADANA paper swept, 6 to 24 heads; it used the rules up to 2.6 B."""

BUDGET = Range(what="tokens_per_total_param", low=20, high=20)


def _fitted(
    fits: Fits, *, name: str, batch: float, sizes: Range, note: tuple[str, ...] = (), model: str = "Enoki"
) -> list[Rule]:
    """Return the rules of one ladder of the ADANA paper; those of the recipes' kappa are shown unasked."""
    rules = []
    for optimizer, by_kappa in fits.items():
        usual = 0.75 if optimizer.startswith("ademamix") else 0.85
        for kappa, rule in by_kappa.items():
            suffix = "" if kappa is None else f"-kappa-{kappa:g}"
            rules.append(
                Rule(
                    name=f"{name}-{optimizer}{suffix}",
                    sets="lr",
                    optimizers=(optimizer,),
                    gives=model + ("" if kappa is None else f", kappa {kappa:g}"),
                    formula=_formula(rule),
                    inputs=("params",),
                    compute=_at_size(rule),
                    ranges=(sizes, Range(what="batch_tokens", low=batch, high=batch), BUDGET),
                    source=ADANA_PAPER,
                    notes=note,
                    is_main=kappa in (None, usual) and name == "adana-paper",
                )
            )
    return rules


def _at_size(rule: LrRule) -> Callable[[Situation], float]:
    return lambda situation: rule(given(situation.params))


def _formula(rule: LrRule) -> str:
    return f"{rule.a:.4g} ({rule.b:.3g} + P)^{rule.d:.3f}"


MICRO_LADDER: dict[str, LrRule] = {
    "adamw": LrRule(a=4.200817487, b=1.0, d=-0.5595638205),
    "adamw-log-time-decay": LrRule(a=5133.562553, b=109849.5507, d=-1.079276032),
    "dana-star-mk4": LrRule(a=23.50546450, b=21399.22936, d=-0.7558818127),
    "ademamix-log-time-decay": LrRule(a=2659.444046, b=111439.3192, d=-1.077804351),
    "adana": LrRule(a=9.727943268e14, b=525265.1906, d=-3.0),
    "muon": LrRule(a=1.463625774e15, b=418759.7709, d=-3.0),
}
"""`logclock.analysis.fit_lr_rule` on experiments/2026-11-24-ladder; a test repeats the fit."""

AT_THE_BOUND = (
    "The exponent -3 is at its bound: five sizes do not tell an exponent from an offset, and the rule says nothing "
    "beyond them.",
)


def _micro(optimizer: str, rule: LrRule) -> Rule:
    return Rule(
        name=f"micro-ladder-{optimizer}",
        sets="lr",
        optimizers=(optimizer,),
        gives="our micro ladder",
        formula=_formula(rule),
        inputs=("params",),
        compute=_at_size(rule),
        ranges=(
            Range(what="params", low=6912, high=248_832, is_limit=True),
            Range(what="batch_tokens", low=512, high=512),
            BUDGET,
        ),
        source="this package, experiments/2026-11-24-ladder: 5 sizes, 512 words",
        notes=AT_THE_BOUND if rule.d == -3 else (),
    )


def _adana_from_adamw(situation: Situation) -> float:
    params = given(situation.params)
    return given(situation.base_lr) * ENOKI["adana"][0.85](params) / ENOKI["adamw"][None](params)


def _marin_muonh(situation: Situation) -> float:
    sequences = given(situation.batch_tokens) / 4096
    size = math.pow(given(situation.tokens), -0.395) * math.pow(given(situation.width), -0.150)
    return min(18.31 * size * math.sqrt(sequences), 0.05)


def _hyperp(situation: Situation) -> tuple[float, float]:
    factor = (
        (given(situation.batch_tokens) / 2**21) ** 0.5
        * (8 / given(situation.depth)) ** 0.5
        * (given(situation.tokens) / 10.4e9) ** -0.32
    )
    return 1e-2 * factor, 1.6e-2 * factor


MARIN_UNIT = (
    "The unit of T was not found. Tokens, with the batch in sequences of 4096, give 0.016 at HyperP's base point, "
    "where its own base rate is 0.010 to 0.016; that reading is used.",
    "The best rate drifts up by 1.2 to 1.4 at 300 to 600 tokens per parameter (same source).",
)

MARIN = "marin, public records #6044 and #7856, R^2 0.996 over 17 cells"

RATES: tuple[Rule, ...] = (
    Rule(
        name="step-law-lr",
        sets="lr",
        optimizers=("adamw",),
        gives="Step Law",
        formula="1.79 P^-0.713 tokens^0.307",
        inputs=("params", "tokens"),
        compute=lambda run: 1.79 * given(run.params) ** -0.713 * given(run.tokens) ** 0.307,
        ranges=(Range(what="params", low=59e6, high=1e9), Range(what="tokens", high=100e9)),
        source="Li et al. 2025, arXiv:2503.04715",
        notes=(
            "For a cosine to the fixed final rate 1e-5. A refit of the released table has exponents -0.713 +- 0.030 "
            "and 0.308 +- 0.019 and the factor 1.797 times or over e^0.62.",
            "Below 59 M parameters it does not transfer as published (arXiv:2609.27581, read at second hand; "
            "confounded by tokenizer and recipe). The fewest tokens of its runs were not found.",
        ),
    ),
    *_fitted(
        ENOKI,
        name="adana-paper",
        batch=65_536,
        sizes=STUDY_SIZES,
        note=("Omega 4, 2 % warm-up, cosine to 10 %, gradient norm at most 0.5; used unswept up to P = 2.4 B.",),
    ),
    *_fitted(
        ENOKI_LARGE_BATCH,
        name="adana-paper-large-batch",
        batch=1_048_576,
        sizes=Range(what="params", high=509_607_936),
        note=(
            "Later sweeps of the same group found AdamW's best rate at 0.5 (3 heads), 2 (12) and 4 (20, edge of the "
            "grid) times this rule. The smallest size that was fitted was not found.",
        ),
    ),
    *_fitted(
        QWEN3,
        name="adana-paper-qwen3",
        batch=65_536,
        sizes=Range(what="params", low=29_370_880, high=792_804_864),
        model="Qwen3-like",
        note=(
            "The smallest and the largest size of the fit were not found; the range is that of the sweeps' scripts.",
        ),
    ),
    *(_micro(optimizer, rule) for optimizer, rule in MICRO_LADDER.items()),
    Rule(
        name="adana-from-adamw",
        sets="lr",
        optimizers=("adana",),
        gives="from a tuned AdamW rate",
        formula="lr0 (ADANA's fit at P) / (AdamW's fit at P)",
        inputs=("params", "base_lr"),
        compute=_adana_from_adamw,
        ranges=(STUDY_SIZES, Range(what="batch_tokens", low=65_536, high=65_536)),
        source=ADANA_PAPER,
        notes=("A third at 7 M, a fifth at 2.4 B. If AdamW's rate was not tuned, the same rate is as good a start.",),
    ),
    Rule(
        name="hyperp-muonh-lr",
        sets="lr",
        optimizers=("muonh",),
        gives="HyperP",
        formula="lr0 sqrt(B / 2^21) sqrt(8 / depth) (tokens / 10.4e9)^-0.32, lr0 = 0.010 to 0.016",
        inputs=("batch_tokens", "depth", "tokens"),
        compute=_hyperp,
        source="arXiv:2603.28743, code microsoft/ArchScale",
        notes=(
            "Width needs no factor as long as it grows with depth. No weight decay, no warm-up, decay to 10 %. The "
            "paper's tables and so its range were not found; the result is reported up to 6e21 FLOP.",
        ),
    ),
    Rule(
        name="marin-muonh-lr",
        sets="lr",
        optimizers=("muonh",),
        gives="marin's law",
        formula="18.31 tokens^-0.395 d^-0.150 sqrt(B / 4096), at most 0.05",
        inputs=("tokens", "width", "batch_tokens"),
        compute=_marin_muonh,
        ranges=(Range(what="width", low=512, high=1280), Range(what="sequence_length", low=4096, high=4096)),
        source=MARIN,
        notes=MARIN_UNIT,
    ),
    Rule(
        name="marin-muonh-rest-lr",
        sets="lr",
        optimizers=("muonh",),
        gives="marin's law, Adam for the rest",
        formula="3/13 of the rate of matrices",
        inputs=("tokens", "width", "batch_tokens"),
        compute=lambda run: _marin_muonh(run) * 3 / 13,
        ranges=(Range(what="width", low=512, high=1280), Range(what="sequence_length", low=4096, high=4096)),
        source=MARIN,
    ),
    Rule(
        name="square-root-batch",
        sets="lr",
        optimizers=("adamw", "adana", "muon", "muonh"),
        gives="square root of the batch",
        formula="lr0 sqrt(B / B0)",
        inputs=("base_lr", "base_batch_tokens", "batch_tokens"),
        compute=lambda run: given(run.base_lr) * (given(run.batch_tokens) / given(run.base_batch_tokens)) ** 0.5,
        source="random matrices: arXiv:2006.09092; HyperP for MuonH: arXiv:2603.28743",
        notes=(
            "The largest stable rate of adaptive methods, until it saturates. The closed formula of the spiked model "
            "was not found; the proportionality is used.",
        ),
    ),
    Rule(
        name="linear-batch",
        sets="lr",
        optimizers=("sgd",),
        gives="linear in the batch",
        formula="lr0 B / B0",
        inputs=("base_lr", "base_batch_tokens", "batch_tokens"),
        compute=lambda run: given(run.base_lr) * given(run.batch_tokens) / given(run.base_batch_tokens),
        source="random matrices: arXiv:2006.09092",
        notes=("For SGD, until it saturates; where that is follows from a formula that was not found.",),
    ),
    Rule(
        name="mup-matrix-lr",
        sets="lr",
        optimizers=("adamw", "adana"),
        gives="muP, hidden matrices and head",
        formula="lr0 d0 / d",
        inputs=("base_lr", "base_width", "width"),
        compute=lambda run: given(run.base_lr) * given(run.base_width) / given(run.width),
        ranges=(Range(what="width", low=256, high=2048),),
        source="muP; arXiv:2510.15262 for the range",
        notes=("Embedding and gains keep lr0. Initial weights have to follow: `mup_base_width` of our models.",),
    ),
    Rule(
        name="lion-from-adamw",
        sets="lr",
        optimizers=("lion",),
        gives="from a tuned AdamW rate",
        formula="lr0 / 10 to lr0 / 3",
        inputs=("base_lr",),
        compute=lambda run: (given(run.base_lr) / 10, given(run.base_lr) / 3),
        source="Chen et al. 2023, arXiv:2302.06675",
        notes=("With 3 to 10 times AdamW's weight decay, so that lr times weight decay stays.",),
    ),
    Rule(
        name="class-rates",
        sets="lr",
        optimizers=("adamw", "adana", "adana-mix"),
        gives="rate of embedding, head and gains over that of matrices",
        formula="60 / sqrt(T), between 1 and 10",
        inputs=("total_steps",),
        compute=lambda run: min(max(60 / given(run.total_steps) ** 0.5, 1.0), 10.0),
        ranges=(Range(what="params", low=12_288, high=12_288), Range(what="total_steps", low=28, high=220)),
        source="a prototype of ours, November 2026: 305 runs of one micro model",
        notes=(
            "A hypothesis, not a result: only the ratios 1, 4 and 10 were tried, at one size, with one optimizer for "
            "all parameters. In a run it is `tables_lr_factor`, in a loop of yours `tables_lr` of `param_groups`; muP "
            "scales the head and hidden matrices on top.",
        ),
        is_main=False,
    ),
)
"""Rules of this file."""
