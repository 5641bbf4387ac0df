import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from contract.runs import make_params
from contract.runs import run as take_steps
from reference.adam_mini import adam_mini as reference
from torch import nn

from logclock import AdamMini, AdamW, param_groups
from logclock.algorithms import AdamMiniSpec
from logclock.models import EnokiConfig, Qwen3Config
from logclock.optim import by_heads, head_blocks
from logclock.recipes import micro
from logclock.train.loop import build_optimizer


@pytest.mark.parametrize(("shape", "blocks"), [((6, 4), 1), ((6, 4), 2), ((6, 4), 3), ((8,), 4), ((4, 3, 2), 2)])
def test_equals_the_reference_with_blocks_of_rows(shape, blocks):
    (param,) = make_params((shape,), torch.float64)
    start = param.detach().numpy().copy()
    optimizer = AdamMini([param], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0, row_blocks=blocks)
    grads = []
    for step in range(12):
        take_steps(optimizer, [param], [step])
        grads.append(param.grad.numpy().copy())

    expected, *states = partial(reference, beta1=0.9, beta2=0.99, eps=1e-8, blocks=blocks)(
        start, grads, lr=lambda t: 1e-2, decay=lambda t: 0.0
    )
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(optimizer.state[param]["exp_avg_sq"].numpy(), states[1], rtol=1e-12)


def test_with_a_block_for_every_weight_it_is_adamw():
    ours, theirs = make_params(((7,),), torch.float64), make_params(((7,),), torch.float64)
    shared = {"lr": 1e-2, "betas": (0.9, 0.99), "weight_decay": 0.1}

    take_steps(AdamMini(ours, row_blocks=7, **shared), ours, range(20))
    take_steps(AdamW(theirs, **shared), theirs, range(20))

    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 4), (5,), ()])
def test_blocks_that_do_not_divide_the_rows_are_refused(shape):
    with pytest.raises(ValueError, match=rf"row_blocks must divide the {shape[0] if shape else 1} rows, got 4\."):
        AdamMini([nn.Parameter(torch.zeros(shape))], row_blocks=4)


def test_each_block_keeps_one_number():
    assert [AdamMiniSpec().num_blocks(shape) for shape in ((6, 4), (6,), (2, 3, 4), ())] == [6, 1, 2, 1]
    assert AdamMiniSpec(row_blocks=3).state_shape("exp_avg_sq", (6, 4)) == (3,)


def test_query_and_key_projections_of_our_models_fall_into_heads():
    model = EnokiConfig(heads=4, vocab_size=50).build(seed=0)
    blocks = head_blocks(model)

    assert set(blocks.values()) == {12}  # queries, keys and values of 4 heads, fused
    assert all(name.endswith("qkv.weight") for name in blocks)


def test_gates_that_are_fused_with_queries_count_as_heads():
    model = Qwen3Config(heads=4, vocab_size=50).build(seed=0)
    blocks = {name.split(".", 2)[-1]: count for name, count in head_blocks(model).items()}

    assert sorted(blocks.values()) == [4, 8]
    assert all("query_gate" in name or "key" in name for name in blocks)


class GroupedAttention(nn.Module):
    """As transformers writes it: fewer heads for keys than for queries, and a width of heads."""

    def __init__(self):
        super().__init__()
        self.head_dim = 4
        self.q_proj, self.k_proj = nn.Linear(16, 16), nn.Linear(16, 8)
        self.v_proj, self.o_proj = nn.Linear(16, 8), nn.Linear(16, 16)


def test_grouped_queries_have_more_heads_than_keys():
    assert head_blocks(GroupedAttention()) == {"q_proj.weight": 4, "k_proj.weight": 2}


def test_a_model_that_says_nothing_about_heads_has_no_blocks():
    attention = GroupedAttention()
    del attention.head_dim

    assert head_blocks(attention) == {}


def test_groups_keep_their_settings_and_lose_no_parameter():
    model = EnokiConfig(heads=4, vocab_size=50).build(seed=0)
    groups = by_heads(model, param_groups(model, weight_decay=0.3))

    assert [(group.get("row_blocks"), group["weight_decay"]) for group in groups] == [
        (None, 0.3),
        (12, 0.3),
        (None, 0.0),
    ]
    assert sorted(name for group in groups for name, _ in group["params"]) == sorted(dict(model.named_parameters()))


@pytest.mark.parametrize(("row_blocks", "expected"), [(None, {None, 12}), (1, {1})])
def test_a_run_takes_the_heads_of_its_model_unless_blocks_are_given(row_blocks, expected):
    model = EnokiConfig(heads=4, vocab_size=50)
    config = dataclasses.replace(micro("adam-mini"), model=model, optimizer=AdamMiniSpec(row_blocks=row_blocks))
    optimizer = build_optimizer(config, model.build(seed=0))

    assert {group["row_blocks"] for group in optimizer.param_groups} == expected
