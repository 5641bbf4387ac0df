"""The small network of these tests, its two parameter groups, and one training step of it sharded or whole.

Both ways see the same gradients to the last bit: the loss of rank r is that of half r of a batch, and the mean of two
halves is a sum of two numbers (the same in either order) divided by two (exact). What may differ is the optimizer.
"""

import torch
from contract.cases import CASES, WEIGHT_DECAY
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard

from logclock.schedules import LinearRamp

OTHER_DECAY = LinearRamp(start=0.3, end=0.05, steps=5)
PEAK = 2e-2


class OneGain(nn.Module):
    """RMS norm with a single gain: on two ranks one of them holds nothing."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x / (x * x).mean(-1, keepdim=True).sqrt() * self.gain


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)  # 4 rows on each rank
        self.mix = nn.Linear(6, 5)  # sharded along its columns, 3 and 3; bias 3 and 2
        self.norm = OneGain()
        self.gate = nn.Linear(5, 1, bias=False)  # [1, 5]: 1 row and 0
        self.head = nn.Linear(5, 7)  # 4 rows and 3; its bias is frozen
        self.head.bias.requires_grad_(False)

    def forward(self, tokens, step, half):
        x = self.norm(torch.tanh(self.mix(self.embedding(tokens))))
        return self.head(x * torch.sigmoid(self.gate(x)))


class TiedNet(nn.Module):
    """A network whose head is its embedding: one parameter with two names."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.mix = nn.Linear(6, 6)
        self.head = nn.Linear(6, 8, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens, step, half):
        return self.head(torch.tanh(self.mix(self.embedding(tokens))))


TRAINED = {"embedding.weight", "mix.weight", "mix.bias", "norm.gain", "gate.weight", "head.weight"}


def make_net(seed=0, dtype=torch.float32, kind=Net):
    generator = torch.Generator().manual_seed(seed)
    net = kind().to(dtype)
    with torch.no_grad():
        for param in net.parameters():
            param.copy_(torch.randn(param.shape, generator=generator))
    return net


def shard(net):
    """Shard over both ranks with FSDP2: the first linear layer on its own, then the rest."""
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(net.mix, mesh=mesh, shard_placement_fn=lambda param: Shard(1) if param.ndim == 2 else None)
    return fully_shard(net, mesh=mesh)


def build(name, net, **settings):
    """Return an optimizer with two groups: their own decay schedules and their own peak learning rates."""
    decayed = [net.mix.weight, net.gate.weight, net.head.weight]
    rest = [net.embedding.weight, net.mix.bias, net.norm.gain]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": rest, "weight_decay": OTHER_DECAY, "lr": PEAK / 4},
    ]
    return CASES[name].build(groups, **{"lr": PEAK, **CASES[name].settings, **settings})


def loss_of_half(net, step, half):
    tokens = torch.randint(8, (2, 6), generator=torch.Generator().manual_seed(step))[half]
    return nn.functional.cross_entropy(net(tokens, step, half).float(), (3 * tokens + 1) % 7)


def train(net, optimizer, steps, *, rank=None):
    """Train under a falling learning rate on this rank's half of each batch, or on both halves if rank is None."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * (1 - step / 16)
        for half in (0, 1) if rank is None else (rank,):
            loss_of_half(net, step, half).backward()
        if rank is None:
            for param in net.parameters():
                if param.grad is not None:
                    param.grad /= 2
        optimizer.step()
        optimizer.zero_grad()


def whole(tensor):
    """Return a copy of a tensor with the shards of both ranks in it."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


def weights(net):
    """Return whole parameters by name."""
    return {name: whole(param) for name, param in net.named_parameters()}


def states(net, optimizer):
    """Return whole state tensors, the clocks included, by parameter and state name."""
    return {
        f"{name}.{key}": whole(value)
        for name, param in net.named_parameters()
        for key, value in optimizer.state.get(param, {}).items()
    }


def clocks(net, optimizer):
    """Return each parameter's own update count."""
    return {name: optimizer.state[p]["step"].item() for name, p in net.named_parameters() if p in optimizer.state}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype, name
        difference = (ours[name].double() - theirs[name].double()).abs()
        assert torch.equal(ours[name], theirs[name]), f"{name} differs by up to {difference.max()}"
