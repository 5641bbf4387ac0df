"""Rules and specs: every optimizer as one pure update and one frozen dataclass."""

from logclock.rules.adamw import AdamwSpec
from logclock.rules.adana import AdanaSpec
from logclock.rules.dana import DanaSpec
from logclock.rules.dana_mk4 import DanaMk4Spec
from logclock.rules.dana_star import DanaStarSpec
from logclock.rules.dana_star_mk4 import DanaStarMk4Spec
from logclock.rules.rule import Rule, elementwise
from logclock.rules.sgd import SgdSpec
from logclock.rules.spec import Spec, register

__all__ = [
    "AdamwSpec",
    "AdanaSpec",
    "DanaMk4Spec",
    "DanaSpec",
    "DanaStarMk4Spec",
    "DanaStarSpec",
    "Rule",
    "SgdSpec",
    "Spec",
    "elementwise",
    "register",
]
