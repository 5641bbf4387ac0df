"""What do published rules say about the number of tokens in one update?"""

from logclock.suggestions.counts import count_text
from logclock.suggestions.rule import Range, Rule, Situation, given

__all__ = ["BATCHES"]


def _warm_up(situation: Situation) -> str:
    batch, tokens = given(situation.batch_tokens), given(situation.tokens)
    return (
        f"{count_text(batch / 4)} up to {count_text(0.03 * tokens)} tokens, {count_text(batch / 2)} up to "
        f"{count_text(0.1 * tokens)}, then {count_text(batch)}"
    )


BATCHES: tuple[Rule, ...] = (
    Rule(
        name="step-law-batch",
        sets="batch",
        optimizers=("adamw",),
        gives="Step Law",
        formula="0.58 tokens^0.571",
        inputs=("tokens",),
        compute=lambda run: 0.58 * given(run.tokens) ** 0.571,
        ranges=(Range(what="params", low=59e6, high=1e9), Range(what="tokens", high=100e9)),
        source="Li et al. 2025, arXiv:2503.04715",
        notes=("A refit of the released table has the exponent 0.571 +- 0.019 and the factor 0.581.",),
    ),
    Rule(
        name="power-lines-batch",
        sets="batch",
        optimizers=("adamw",),
        gives="Power Lines",
        formula="B0 (tokens / tokens0)^0.383",
        inputs=("base_batch_tokens", "base_tokens", "tokens"),
        compute=lambda run: given(run.base_batch_tokens) * (given(run.tokens) / given(run.base_tokens)) ** 0.383,
        source="Bergsma et al. 2025, arXiv:2505.13738",
        notes=("The factor of the law was not found; B0 is to be the best batch of a run with tokens0.",),
    ),
    Rule(
        name="critical-batch",
        sets="batch",
        gives="the noise scale of the gradient",
        formula="B_noise = tr(Sigma) / |g|^2, measured",
        inputs=("noise_tokens",),
        compute=lambda run: given(run.noise_tokens),
        source="McCandlish et al. 2018, arXiv:1812.06162",
        notes=(
            "At that batch a run takes about twice the fewest updates and twice the fewest tokens. It grows in a run; "
            "a small factor either way is within what it says. A run with `--set measures_noise=true` measures it, and "
            "`--noise-from DIR` reads it from the study's ledger.",
        ),
    ),
    Rule(
        name="batch-warm-up",
        sets="batch",
        gives="a quarter, then half of the batch",
        formula="B / 4 up to 3 % of the tokens, B / 2 up to 10 %, then B; lr with the square root",
        inputs=("batch_tokens", "tokens"),
        compute=_warm_up,
        source="nanochat, public pull request 851",
        notes=(
            "Merrill et al. (arXiv:2505.23971, abstract) double the batch, and multiply the rate by sqrt(2), whenever "
            "the critical batch size allows: 43 % fewer updates for a 1 B model. It starts near 0, rises and levels "
            "off.",
        ),
    ),
)
"""Rules of this file."""
