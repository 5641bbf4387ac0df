"""Which optimizers of other packages are asked the probes, where they are installed?"""

import dataclasses
import importlib
import importlib.util
import sys
import types

import pytest


@dataclasses.dataclass(frozen=True)
class Peer:
    """An optimizer of another package."""

    module: str
    name: str

    def build(self):
        """Return its class, or skip the test."""
        package = self.module.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
        if package == "timm":
            _load_only_optimizers_of("timm")
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            pytest.skip(f"{self.module} cannot be imported here: {error}")
        return getattr(module, self.name)


def _load_only_optimizers_of(package):
    """Let modules of timm.optim be imported without timm itself, which needs torchvision."""
    for name in (package, f"{package}.optim"):
        if name not in sys.modules:
            spec = importlib.util.find_spec(package)
            place = spec.submodule_search_locations[0]
            stand_in = types.ModuleType(name)
            stand_in.__path__ = [place if name == package else f"{place}/optim"]
            stand_in.__spec__ = spec if name == package else None
            sys.modules[name] = stand_in


def kozistr_muon(params, *, maximize=False, **settings):
    """Return Muon of pytorch_optimizer with everything in its matrix group."""
    from pytorch_optimizer import Muon

    given = [dict(param) if isinstance(param, dict) else param for param in params]
    groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    return Muon([{**group, "use_muon": True} for group in groups], maximize=maximize, **settings)


PEERS = {
    **{f"torch.{name}": Peer("torch.optim", name) for name in ("AdamW", "Muon", "Adafactor", "SGD")},
    **{
        f"pytorch_optimizer.{name}": Peer("pytorch_optimizer", name)
        for name in ("AdEMAMix", "Lion", "ADOPT", "ScheduleFreeAdamW", "Prodigy", "SOAP", "FlashAdamW", "MARS")
    },
    "pytorch_optimizer.Muon": Peer("testing.peers", "kozistr_muon"),
    "schedulefree.AdamWScheduleFree": Peer("schedulefree", "AdamWScheduleFree"),
    **{f"optimi.{name}": Peer("optimi", name) for name in ("AdamW", "Lion", "Adan")},
    **{
        f"timm.{name}": Peer(f"timm.optim.{name.lower()}", name) for name in ("Lion", "Adopt", "Mars", "LaProp", "Muon")
    },
    "heavyball.AdamW": Peer("heavyball", "AdamW"),  # the others compile for minutes
}
