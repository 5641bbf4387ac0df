"""Which optimizers do recipes set up, what is each there to find out, and at which learning rate?

`logclock list` prints the names with their questions. A file of this room holds the variants of one kind.
"""

from logclock.recipes.variants.baselines import BASELINES
from logclock.recipes.variants.log_time import LOG_TIME
from logclock.recipes.variants.matrices import MATRICES
from logclock.recipes.variants.matrix_signs import MATRIX_SIGNS
from logclock.recipes.variants.variant import VARIANTS, Rate, Variant, get_variant

__all__ = ["VARIANTS", "Rate", "Variant", "get_variant"]

VARIANTS.update({variant.name: variant for variant in (*BASELINES, *LOG_TIME, *MATRICES, *MATRIX_SIGNS)})
