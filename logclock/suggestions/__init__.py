"""What do published rules say of a run's hyperparameters, and what do AdamW's become in another optimizer?

Every rule is a declaration: name, inputs, formula, range, source. Nothing here needs more than Python.
"""

from logclock.suggestions.adana_fits import ENOKI, ENOKI_LARGE_BATCH, QWEN3
from logclock.suggestions.batches import BATCHES
from logclock.suggestions.counts import count_text, parse_count
from logclock.suggestions.decays import DECAYS
from logclock.suggestions.lr_rule import LrRule
from logclock.suggestions.memories import MEMORIES
from logclock.suggestions.rates import MICRO_LADDER, RATES
from logclock.suggestions.rule import QUANTITIES, Advice, Range, Rule, Situation, advise
from logclock.suggestions.translation import TARGETS, Translation, translate_adamw

__all__ = [
    "ENOKI",
    "ENOKI_LARGE_BATCH",
    "MICRO_LADDER",
    "QUANTITIES",
    "QWEN3",
    "RULES",
    "TARGETS",
    "Advice",
    "LrRule",
    "Range",
    "Rule",
    "Situation",
    "Translation",
    "advise",
    "count_text",
    "parse_count",
    "translate_adamw",
]

RULES: tuple[Rule, ...] = (*RATES, *BATCHES, *DECAYS, *MEMORIES)
"""Every rule."""
