# Written by `make stubs`; a test says when it is out of date.
from logclock.algorithms.adabelief import AdabeliefSpec as AdabeliefSpec
from logclock.algorithms.adafactor import AdafactorSpec as AdafactorSpec
from logclock.algorithms.adagrad import AdagradSpec as AdagradSpec
from logclock.algorithms.adam_mini import AdamMiniSpec as AdamMiniSpec
from logclock.algorithms.adamp import AdampSpec as AdampSpec
from logclock.algorithms.adams import AdamsSpec as AdamsSpec
from logclock.algorithms.adamuon import AdamuonSpec as AdamuonSpec
from logclock.algorithms.adamw import AdamwSpec as AdamwSpec
from logclock.algorithms.adan import AdanSpec as AdanSpec
from logclock.algorithms.adana import AdanaSpec as AdanaSpec
from logclock.algorithms.adana_mix import AdanaMixSpec as AdanaMixSpec
from logclock.algorithms.ademamix import AdemamixSpec as AdemamixSpec
from logclock.algorithms.adopt import AdoptSpec as AdoptSpec
from logclock.algorithms.apollo import ApolloSpec as ApolloSpec
from logclock.algorithms.apollo_mini import ApolloMiniSpec as ApolloMiniSpec
from logclock.algorithms.aro import AroSpec as AroSpec
from logclock.algorithms.cosmos import CosmosSpec as CosmosSpec
from logclock.algorithms.dana import DanaSpec as DanaSpec
from logclock.algorithms.dana_mk4 import DanaMk4Spec as DanaMk4Spec
from logclock.algorithms.dana_star import DanaStarSpec as DanaStarSpec
from logclock.algorithms.dana_star_mk4 import DanaStarMk4Spec as DanaStarMk4Spec
from logclock.algorithms.diffgrad import DiffgradSpec as DiffgradSpec
from logclock.algorithms.dion2 import Dion2Spec as Dion2Spec
from logclock.algorithms.dualadam import DualadamSpec as DualadamSpec
from logclock.algorithms.exadam import ExadamSpec as ExadamSpec
from logclock.algorithms.fira import FiraSpec as FiraSpec
from logclock.algorithms.invadam import InvadamSpec as InvadamSpec
from logclock.algorithms.kl_shampoo import KlShampooSpec as KlShampooSpec
from logclock.algorithms.kl_soap import KlSoapSpec as KlSoapSpec
from logclock.algorithms.laprop import LapropSpec as LapropSpec
from logclock.algorithms.lion import LionSpec as LionSpec
from logclock.algorithms.mars import MarsSpec as MarsSpec
from logclock.algorithms.muon import MuonSpec as MuonSpec
from logclock.algorithms.muon2 import Muon2Spec as Muon2Spec
from logclock.algorithms.nadamw import NadamwSpec as NadamwSpec
from logclock.algorithms.normsgd import NormsgdSpec as NormsgdSpec
from logclock.algorithms.normuon import NormuonSpec as NormuonSpec
from logclock.algorithms.prodigy import ProdigySpec as ProdigySpec
from logclock.algorithms.psgd_kron import PsgdKronSpec as PsgdKronSpec
from logclock.algorithms.scale import ScaleSpec as ScaleSpec
from logclock.algorithms.scaled_adam import ScaledAdamSpec as ScaledAdamSpec
from logclock.algorithms.scion import ScionSpec as ScionSpec
from logclock.algorithms.sgd import SgdSpec as SgdSpec
from logclock.algorithms.sgdp import SgdpSpec as SgdpSpec
from logclock.algorithms.shampoo import ShampooSpec as ShampooSpec
from logclock.algorithms.signum import SignumSpec as SignumSpec
from logclock.algorithms.simplified_ademamix import SimplifiedAdemamixSpec as SimplifiedAdemamixSpec
from logclock.algorithms.sinkgd import SinkgdSpec as SinkgdSpec
from logclock.algorithms.soap import SoapSpec as SoapSpec
from logclock.algorithms.sophia_g import SophiaGSpec as SophiaGSpec
from logclock.algorithms.splus import SplusSpec as SplusSpec
from logclock.algorithms.stable_adamw import StableAdamwSpec as StableAdamwSpec
from logclock.algorithms.swan import SwanSpec as SwanSpec

__all__ = ["ENTRY_POINTS"]

ENTRY_POINTS: str
