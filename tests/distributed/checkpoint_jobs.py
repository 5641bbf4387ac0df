"""What both ranks do in the tests of checkpoints: save, load, and go on for three steps."""

import dataclasses

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from contract.cases import CASES, WEIGHT_DECAY
from distributed.net import TiedNet, build, clocks, make_net, shard, states, train, weights
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from logclock.rules import Spec

OTHER_SETTINGS = {"lr": 0.5, "eps": 1e-3}
"""What the constructor of a resumed optimizer says; the checkpoint must win."""


def other_settings(name):
    known = {field.name for field in dataclasses.fields(Spec.family.get(name))}
    return {key: value for key, value in OTHER_SETTINGS.items() if key in known}


def state_of(net, optimizer, flatten):
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    return {"model": get_model_state_dict(net), "optim": get_optimizer_state_dict(net, optimizer, options=options)}


def save(net, optimizer, path, flatten, **how):
    dcp.save(state_of(net, optimizer, flatten), checkpoint_id=path, **how)


def resume(net, optimizer, path, flatten, **how):
    """Load a checkpoint into a network and optimizer built anew; the optimizer has no state before."""
    state = state_of(net, optimizer, flatten)
    dcp.load(state, checkpoint_id=path, **how)
    set_model_state_dict(net, state["model"])
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    set_optimizer_state_dict(net, optimizer, state["optim"], options=options)


def plain_groups(optimizer):
    return [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]


def save_on_two_and_load_on_two(rank, name, flatten, path, dtype="float32"):
    """Save after four steps; return the uninterrupted run of seven beside the resumed one."""
    dtype = getattr(torch, dtype)
    net = shard(make_net(dtype=dtype))
    optimizer = build(name, net)
    train(net, optimizer, range(4), rank=rank)
    save(net, optimizer, path, flatten)
    saved = weights(net) | states(net, optimizer)
    train(net, optimizer, range(4, 7), rank=rank)

    twin = shard(make_net(seed=1, dtype=dtype))
    resumed = build(name, twin, **other_settings(name))
    resume(twin, resumed, path, flatten)
    loaded = weights(twin) | states(twin, resumed)
    train(twin, resumed, range(4, 7), rank=rank)
    return {
        "saved": saved,
        "loaded": loaded,
        "uninterrupted": weights(net) | states(net, optimizer),
        "resumed": weights(twin) | states(twin, resumed),
        "groups": (plain_groups(optimizer), plain_groups(resumed)),
    }


def save_on_one_and_load_on_two(rank, name, flatten, path):
    """Rank 0 saves an unsharded run after four steps; both load it sharded."""
    net = make_net()
    optimizer = build(name, net)
    train(net, optimizer, range(4))
    if rank == 0:
        save(net, optimizer, path, flatten, no_dist=True)
    dist.barrier()
    train(net, optimizer, range(4, 7))

    twin = shard(make_net(seed=1))
    resumed = build(name, twin, **other_settings(name))
    resume(twin, resumed, path, flatten)
    train(twin, resumed, range(4, 7), rank=rank)
    return {
        "uninterrupted": weights(net) | states(net, optimizer),
        "resumed": weights(twin) | states(twin, resumed),
    }


def save_and_load_a_tied_head(rank, name, flatten, path):
    """As the first job, with an embedding that is also the head."""
    net, twin = shard(make_net(kind=TiedNet)), shard(make_net(seed=1, kind=TiedNet))
    settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY, **CASES[name].settings}
    optimizer, resumed = (CASES[name].build(n.parameters(), **settings) for n in (net, twin))
    train(net, optimizer, range(4), rank=rank)
    save(net, optimizer, path, flatten)
    train(net, optimizer, range(4, 7), rank=rank)
    resume(twin, resumed, path, flatten)
    train(twin, resumed, range(4, 7), rank=rank)
    assert twin.head.weight is twin.embedding.weight
    return {
        "uninterrupted": weights(net) | states(net, optimizer),
        "resumed": weights(twin) | states(twin, resumed),
    }


def gather_on_rank_0_and_broadcast(rank, name, path):
    """Take whole state to rank 0, and hand it back to both; the way of a host that writes one ordinary file."""
    net = shard(make_net())
    optimizer = build(name, net)
    train(net, optimizer, range(4), rank=rank)
    gathered = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model, optim = (
        get_model_state_dict(net, options=gathered),
        get_optimizer_state_dict(net, optimizer, options=gathered),
    )
    if rank == 0:
        torch.save({"model": model, "optim": optim}, path)
    train(net, optimizer, range(4, 7), rank=rank)

    loaded = torch.load(path, weights_only=True) if rank == 0 else {"model": {}, "optim": {}}
    twin = shard(make_net(seed=1))
    resumed = build(name, twin, **other_settings(name))
    spread = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(twin, loaded["model"], options=spread)
    set_optimizer_state_dict(twin, resumed, loaded["optim"], options=spread)
    train(twin, resumed, range(4, 7), rank=rank)
    return {
        "uninterrupted": weights(net) | states(net, optimizer),
        "resumed": weights(twin) | states(twin, resumed),
        "num_entries_on_this_rank": len(optim),
    }


def ask_before_the_first_step(rank, name, tensor_lr):
    """Return five steps after DCP asked for the state beside five of an optimizer that nobody asked."""
    results = {}
    for asked in (False, True):
        net = shard(make_net())
        optimizer = build(name, net, **({"lr": torch.tensor(0.02)} if tensor_lr else {}))
        if asked:
            state = get_optimizer_state_dict(net, optimizer)["state"]
            results["names"] = set(state)
            results["moved"] = [n for n, w in weights(net).items() if not torch.equal(w, weights(make_net())[n])]
            results["clocks_when_asked"] = clocks(net, optimizer)
        train(net, optimizer, range(5), rank=rank)
        results["asked" if asked else "not_asked"] = weights(net) | states(net, optimizer)
    return results


def warm_up_from_zero(rank, name):
    """Take a first step at lr 0 whose gradient is zero on rank 1 alone; return the clocks."""
    net = shard(make_net())
    optimizer = build(name, net)
    for param in net.parameters():
        if param.requires_grad:
            param.grad = torch.zeros_like(param)
            param.grad.to_local().fill_(1.0 if rank == 0 else 0.0)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.step()
    return clocks(net, optimizer)
