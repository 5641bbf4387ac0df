"""Do tables and head get a rate of their own, and is it a peak in every respect?"""

import math
import warnings

import pytest
import torch
from torch import nn

from logclock.models import EnokiConfig, Qwen3Config
from logclock.optim import ADANA, AdamW, assign_groups, class_of_params, param_groups
from logclock.schedules import Constant

WIDTH, VOCAB = 8, 32


class Gpt(nn.Module):
    """A table, a hidden matrix with a bias, a norm, and an output head that may be tied."""

    def __init__(self, *, is_tied=False):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, WIDTH)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.lm_head = nn.Linear(WIDTH, VOCAB, bias=False)
        if is_tied:
            self.lm_head.weight = self.tokens.weight


def rates(groups, default=None):
    return {name: group.get("lr", default) for group in groups for name, _ in group["params"]}


def test_a_gpt_is_divided_into_hidden_weights_tables_and_head():
    classes, notes = class_of_params(Gpt())

    assert classes == {
        "tokens.weight": "table",
        "mix.weight": "hidden",
        "mix.bias": "table",
        "hidden.weight": "hidden",
        "hidden.bias": "table",
        "norm.weight": "table",
        "norm.bias": "table",
        "lm_head.weight": "head",
    }
    assert notes == ()
    assert class_of_params(Gpt(is_tied=True))[0]["tokens.weight"] == "table"


def test_without_class_rates_the_groups_are_the_two_that_they_were():
    groups = param_groups(Gpt(), lr=1e-3, weight_decay=0.1)

    assert [{k: v for k, v in group.items() if k != "params"} for group in groups] == [
        {"lr": 1e-3, "weight_decay": 0.1},
        {"weight_decay": 0.0},
    ]


def test_tables_and_head_have_the_rate_of_tables_and_decay_stays_where_it_was():
    model = Gpt()
    groups = param_groups(model, lr=1e-3, tables_lr=4e-3, weight_decay=0.1)

    expected = {name: 1e-3 if kind == "hidden" else 4e-3 for name, kind in class_of_params(model)[0].items()}
    assert rates(groups) == expected
    decayed = {name for group in groups if group["weight_decay"] == 0.1 for name, _ in group["params"]}
    assert decayed == {name for name, group in assign_groups(model).groups.items() if group == "decay"}
    assert "hidden.weight" in dict(groups[0]["params"])  # whose rate a run logs
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_without_a_rate_of_its_own_hidden_weights_have_the_optimizers():
    optimizer = AdamW(param_groups(Gpt(), tables_lr=4e-3), lr=1e-3)

    by_name = {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert (by_name["hidden.weight"], by_name["tokens.weight"], by_name["lm_head.weight"]) == (1e-3, 4e-3, 4e-3)


def test_the_head_may_have_a_rate_of_its_own_and_then_alone():
    both = rates(param_groups(Gpt(), lr=1e-3, tables_lr=4e-3, head_lr=2e-3))
    alone = rates(param_groups(Gpt(), head_lr=2e-3))

    assert (both["tokens.weight"], both["lm_head.weight"]) == (4e-3, 2e-3)
    assert {name for name, lr in alone.items() if lr is not None} == {"lm_head.weight"}


@pytest.mark.parametrize("family", [EnokiConfig, Qwen3Config])
def test_it_composes_with_mup(family):
    config = family(heads=4, head_dim=8, num_layers=1, vocab_size=64, mup_base_width=16)
    factor = config.matrix_lr_factor
    assert factor == 0.5

    groups = param_groups(config.build(seed=0), lr=1e-2 * factor, tables_lr=4e-2, head_lr=4e-2 * factor)

    found = rates(groups)
    heads = {name: lr for name, lr in found.items() if "head" in name}
    tables = {name: lr for name, lr in found.items() if "norm" in name or "embed" in name}
    assert set(heads.values()) == {2e-2}
    assert set(tables.values()) == {4e-2}
    assert {lr for name, lr in found.items() if name not in {**heads, **tables}} == {5e-3}


def test_each_group_has_a_peak_of_its_own_so_that_independent_decay_does_not_see_the_ratio():
    model = Gpt()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer = ADANA(param_groups(model, lr=1e-3, tables_lr=4e-3, weight_decay=Constant(value=0.25)), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * 0.5  # s(t) = 1/2, as a scheduler sets it
    for param in model.parameters():
        param.grad = torch.zeros_like(param)

    optimizer.step()

    left = {name: float((param / before[name]).detach().mean()) for name, param in model.named_parameters()}
    assert left["hidden.weight"] == pytest.approx(1 - 0.5 * 0.25)
    assert left["lm_head.weight"] == pytest.approx(1 - 0.5 * 0.25)
    assert left["tokens.weight"] == 1.0


def test_a_scheduler_of_torch_keeps_the_ratio():
    optimizer = AdamW(param_groups(Gpt(), lr=1e-3, tables_lr=4e-3), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    optimizer.step()
    scheduler.step()

    assert [group["lr"] / group["peak_lr"] for group in optimizer.param_groups] == [0.5] * 3
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [5e-4, 2e-3]


def test_a_head_that_is_a_guess_warns_and_a_class_that_is_said_does_not():
    model = nn.Sequential(nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5))

    with pytest.warns(UserWarning, match=r"is a guess: '2\.weight'.*classes=\{'2\.weight': 'head'\}"):
        param_groups(model, tables_lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groups = param_groups(model, tables_lr=1.0, classes={"2.weight": "hidden", "1.weight": "head"})
    assert {name: lr for name, lr in rates(groups).items() if lr == 1.0} == dict.fromkeys(
        ["0.weight", "1.weight", "1.bias", "2.bias"], 1.0
    )


def test_a_model_without_a_head_warns():
    model = nn.Sequential(nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, WIDTH))

    with pytest.warns(UserWarning, match="no output head was found in Sequential"):
        param_groups(model, tables_lr=1.0)


def test_classes_that_do_nothing_or_are_unknown_are_refused():
    with pytest.raises(ValueError, match="Give one of them, or no classes"):
        param_groups(Gpt(), classes={"lm_head.weight": "head"})
    with pytest.raises(ValueError, match=r"classes\['\*'\] must be 'hidden' or 'head' or 'table', got 'matrix'"):
        param_groups(Gpt(), tables_lr=1.0, classes={"*": "matrix"})
    with pytest.raises(ValueError, match="classes match no trainable parameter: 'nothing'"):
        param_groups(Gpt(), tables_lr=1.0, classes={"nothing": "head"})
    with pytest.raises(ValueError, match="lr"):
        AdamW(param_groups(Gpt(), tables_lr=math.nan), lr=1e-3)
