"""The grammar of an update: stages, how they are applied, what may stand around them, and the spec that declares it."""

from logclock.rules.apply import Apply, CautiousDecay, Decay, HuberDecay, Hyperball, InitialDecay, MagnitudeDirection
from logclock.rules.rule import Rule, Step
from logclock.rules.spec import Spec, algorithm
from logclock.rules.stage import Stage, elementwise, matrix
from logclock.rules.state import State
from logclock.rules.wrappers import Cautious, ClipRms, EmaNesterov, Grams, ScheduleFree, TrustRatio, Wrapper

__all__ = [
    "Apply",
    "Cautious",
    "CautiousDecay",
    "ClipRms",
    "Decay",
    "EmaNesterov",
    "Grams",
    "HuberDecay",
    "Hyperball",
    "InitialDecay",
    "MagnitudeDirection",
    "Rule",
    "ScheduleFree",
    "Spec",
    "Stage",
    "State",
    "Step",
    "TrustRatio",
    "Wrapper",
    "algorithm",
    "elementwise",
    "matrix",
]
