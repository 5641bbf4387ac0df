# Written by `make stubs`; a test says when it is out of date.
from logclock.algorithms.adamuon import AdamuonSpec as AdamuonSpec
from logclock.algorithms.adamw import AdamwSpec as AdamwSpec
from logclock.algorithms.adana import AdanaSpec as AdanaSpec
from logclock.algorithms.ademamix import AdemamixSpec as AdemamixSpec
from logclock.algorithms.dana import DanaSpec as DanaSpec
from logclock.algorithms.dana_mk4 import DanaMk4Spec as DanaMk4Spec
from logclock.algorithms.dana_star import DanaStarSpec as DanaStarSpec
from logclock.algorithms.dana_star_mk4 import DanaStarMk4Spec as DanaStarMk4Spec
from logclock.algorithms.laprop import LapropSpec as LapropSpec
from logclock.algorithms.lion import LionSpec as LionSpec
from logclock.algorithms.muon import MuonSpec as MuonSpec
from logclock.algorithms.muon2 import Muon2Spec as Muon2Spec
from logclock.algorithms.nadamw import NadamwSpec as NadamwSpec
from logclock.algorithms.normsgd import NormsgdSpec as NormsgdSpec
from logclock.algorithms.normuon import NormuonSpec as NormuonSpec
from logclock.algorithms.scale import ScaleSpec as ScaleSpec
from logclock.algorithms.scion import ScionSpec as ScionSpec
from logclock.algorithms.sgd import SgdSpec as SgdSpec
from logclock.algorithms.signum import SignumSpec as SignumSpec
from logclock.algorithms.sinkgd import SinkgdSpec as SinkgdSpec
from logclock.algorithms.soap import SoapSpec as SoapSpec
from logclock.algorithms.swan import SwanSpec as SwanSpec

__all__ = ["ENTRY_POINTS"]

ENTRY_POINTS: str
