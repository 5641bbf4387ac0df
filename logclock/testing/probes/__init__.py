"""Every probe, in the order of the tables."""

from logclock.testing.probe import Probe
from logclock.testing.probes import construction, hosts, saving, sharding, steps

__all__ = ["PROBES"]

PROBES: tuple[Probe, ...] = (
    steps.step,
    construction.unknown_argument,
    construction.negative_lr,
    construction.named_parameters,
    construction.added_group,
    construction.swapped_parameters,
    steps.gradients,
    steps.maximize,
    steps.foreach,
    steps.closure,
    steps.hooks,
    steps.no_gradient,
    steps.late_parameter,
    steps.rest_at_zero,
    steps.sparse_gradients,
    steps.complex_parameters,
    steps.empty_tensors,
    steps.strides,
    steps.global_state,
    steps.state_precision,
    steps.tiny_update,
    hosts.tensor_lr,
    hosts.grad_scaler,
    hosts.recompiles,
    saving.resume,
    saving.resume_bfloat16,
    saving.resume_schedule,
    saving.state_dict_is_pure,
    saving.weights_only,
    saving.pickled,
    saving.dcp_peek,
    saving.dcp_flat,
    sharding.sharded_step,
    sharding.sharded_resume,
)
"""What `check_optimizer` asks, in the order of its table."""
