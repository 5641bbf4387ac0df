"""Rules and specs: every optimizer as one pure update and one frozen dataclass."""

from logclock.rules.adamw import AdamwSpec
from logclock.rules.adana import AdanaSpec
from logclock.rules.ademamix import AdemamixSpec
from logclock.rules.dana import DanaSpec
from logclock.rules.dana_mk4 import DanaMk4Spec
from logclock.rules.dana_star import DanaStarSpec
from logclock.rules.dana_star_mk4 import DanaStarMk4Spec
from logclock.rules.laprop import LapropSpec
from logclock.rules.lion import LionSpec
from logclock.rules.muon import MuonSpec
from logclock.rules.nadamw import NadamwSpec
from logclock.rules.normsgd import NormsgdSpec
from logclock.rules.rule import Rule, elementwise, whole_tensor
from logclock.rules.sgd import SgdSpec
from logclock.rules.signum import SignumSpec
from logclock.rules.soap import SoapSpec
from logclock.rules.spec import Spec, register

__all__ = [
    "AdamwSpec",
    "AdanaSpec",
    "AdemamixSpec",
    "DanaMk4Spec",
    "DanaSpec",
    "DanaStarMk4Spec",
    "DanaStarSpec",
    "LapropSpec",
    "LionSpec",
    "MuonSpec",
    "NadamwSpec",
    "NormsgdSpec",
    "Rule",
    "SgdSpec",
    "SignumSpec",
    "SoapSpec",
    "Spec",
    "elementwise",
    "register",
    "whole_tensor",
]
