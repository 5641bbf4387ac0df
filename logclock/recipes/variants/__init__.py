"""Which optimizers do recipes set up, what is each there to find out, and at which learning rate?

`logclock list` prints the names with their questions. A file of this room holds the variants of one kind.
"""

from logclock.recipes.variants.adam_family import ADAM_FAMILY
from logclock.recipes.variants.adaptive_steps import ADAPTIVE_STEPS
from logclock.recipes.variants.baselines import BASELINES
from logclock.recipes.variants.compositions import COMPOSITIONS
from logclock.recipes.variants.log_time import LOG_TIME
from logclock.recipes.variants.low_rank import LOW_RANK
from logclock.recipes.variants.matrices import MATRICES
from logclock.recipes.variants.matrix_signs import MATRIX_SIGNS
from logclock.recipes.variants.preconditioned import PRECONDITIONED
from logclock.recipes.variants.variant import VARIANTS, Rate, Variant, get_variant

__all__ = ["VARIANTS", "Rate", "Variant", "get_variant"]

_KINDS = (
    BASELINES,
    ADAM_FAMILY,
    ADAPTIVE_STEPS,
    LOG_TIME,
    MATRICES,
    MATRIX_SIGNS,
    PRECONDITIONED,
    LOW_RANK,
    COMPOSITIONS,
)

VARIANTS.update({variant.name: variant for variants in _KINDS for variant in variants})
