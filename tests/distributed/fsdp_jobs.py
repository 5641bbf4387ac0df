"""What both ranks do in the tests of FSDP2."""

from distributed.net import build, clocks, make_net, shard, states, train, weights
from torch.distributed.tensor import DTensor


def sharded_and_whole(rank, name, settings):
    """Return the results of five sharded steps beside those of the unsharded run."""
    net, twin = shard(make_net()), make_net()
    optimizer, reference = build(name, net, **settings), build(name, twin, **settings)
    train(net, optimizer, range(5), rank=rank)
    train(twin, reference, range(5))
    return {
        "sharded": weights(net) | states(net, optimizer),
        "whole": weights(twin) | states(twin, reference),
        "clocks": clocks(net, optimizer),
        "start": weights(make_net()),
        "local_sizes": {n: p.to_local().numel() for n, p in net.named_parameters() if isinstance(p, DTensor)},
        "state_bytes": (optimizer.state_bytes(), reference.state_bytes()),
    }
