"""A container as in torchtitan: optimizers by name, groups by pattern, for DCP."""

import re

import logclock
from torch.distributed.checkpoint import state_dict as dcp

FLAT = dcp.StateDictOptions(flatten_optimizer_state_dict=True)
# Keys of a group by pattern of names, the first that fits. Schedules are data too.
DECAY = {"kind": "inverse_time", "scale": 4.0, "offset": 100.0}
GROUPS = [
    (r"hidden\..*weight", {"algorithm": "muon", "lr": 0.02, "weight_decay": 0.1}),
    (r".*(bias|embed\.weight)", {"weight_decay": 0.0}),
    (r".*", {"weight_decay": DECAY}),
]


class OptimizersContainer:
    """One optimizer for each part of a model, as pipeline stages have them."""

    def __init__(self, parts, name="ADANA", groups=GROUPS, **settings):
        self.parts = parts
        build = getattr(logclock, name)
        self.optimizers = [
            build(groups_of(part, groups), **settings) for part in parts
        ]

    def step(self):
        """Make an update of every part."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self):
        """Return the state of all parts, by the names of the parameters."""
        found = {}
        for part, optimizer in zip(self.parts, self.optimizers, strict=True):
            optimizer.materialize_state()  # or DCP makes it with a step of its own
            found |= dcp.get_optimizer_state_dict(part, optimizer, options=FLAT)
        return found

    def load_state_dict(self, state):
        """Give every part its state."""
        for part, optimizer in zip(self.parts, self.optimizers, strict=True):
            optimizer.materialize_state()
            dcp.set_optimizer_state_dict(part, optimizer, state, options=FLAT)


def groups_of(part, groups):
    """Return the groups of a part of the model, its parameters with their names."""
    members = [[] for _ in groups]
    for name, param in part.named_parameters():
        fits = [re.fullmatch(pattern, name) is not None for pattern, _ in groups]
        members[fits.index(True)].append((name, param))
    pairs = zip(members, groups, strict=True)
    return [{"params": own, **keys} for own, (_, keys) in pairs if own]
