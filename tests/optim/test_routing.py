import warnings

import pytest
import torch
from torch import nn

from logclock.optim import assign_groups, assign_matrices, matrix_param_groups


def groups_and_reasons(model, assign=assign_matrices):
    assignment = assign(model)
    return {name: (group, assignment.reasons[name]) for name, group in assignment.groups.items()}


def module_with(**children):
    module = nn.Module()
    for name, child in children.items():
        setattr(module, name, child)
    return module


# ----- modules that say it themselves


@pytest.mark.parametrize("assign", [assign_groups, assign_matrices])
def test_a_norm_may_ask_for_decay_and_says_why(assign):
    model = module_with(before=nn.RMSNorm(4), behind=nn.LayerNorm(4))
    model.before.weight_decay_group = ("decay", "makes itself larger")

    groups = groups_and_reasons(model, assign)

    more = "; 1-D, and matrix rules take 2-D parameters" if assign is assign_matrices else ""
    assert groups["before.weight"] == ("decay", f"makes itself larger{more}")
    assert groups["behind.weight"] == ("no_decay", "LayerNorm gain")
    assert groups["behind.bias"][0] == "no_decay"


@pytest.mark.parametrize("stated", ["decay", ("no-decay", "typing"), ("decay", 1), ("decay",)])
def test_a_group_that_a_module_states_wrongly_is_an_error(stated):
    model = module_with(gain=nn.RMSNorm(4))
    model.gain.weight_decay_group = stated

    with pytest.raises(ValueError, match=r"^weight_decay_group of 'gain' must be \('decay', WHY\)"):
        assign_groups(model)


# ----- modules of torch


def test_fused_attention_of_torch_is_a_matrix_to_be_cut():
    fused = 'hidden: MultiheadAttention weight; fused: row_blocks={"*in_proj_weight": 3}'

    assert groups_and_reasons(nn.MultiheadAttention(8, 2, add_bias_kv=True)) == {
        "in_proj_weight": ("matrix", fused),
        "in_proj_bias": ("no_decay", "bias"),
        "bias_k": ("no_decay", "bias"),
        "bias_v": ("no_decay", "bias"),
        "out_proj.weight": ("matrix", "hidden"),
        "out_proj.bias": ("no_decay", "bias"),
    }
    assert assign_groups(nn.MultiheadAttention(8, 2)).groups["in_proj_weight"] == "decay"


def test_attention_with_other_keys_has_three_matrices():
    groups = assign_matrices(nn.MultiheadAttention(8, 2, kdim=4, vdim=6)).groups

    assert {name for name, group in groups.items() if group == "matrix"} == {
        *("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight")
    }


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_layers_have_matrices_of_stacked_gates(kind, gates):
    assigned = groups_and_reasons(kind(4, 6, num_layers=2, bidirectional=True))

    for name, (group, reason) in assigned.items():
        if name.startswith("bias"):
            assert (group, reason) == ("no_decay", "bias")
        else:
            assert group == "matrix"
            assert f'row_blocks={{"*{name[:9]}*": {gates}}}' in reason
    assert len(assigned) == 16


def test_gates_are_cut_as_the_reason_says():
    groups = matrix_param_groups(nn.LSTM(4, 6), matrices={}, rest={}, row_blocks={"*weight_hh*": 4})

    assert [group.get("row_blocks", 1) for group in groups[:2]] == [1, 4]


def legacy_weight_norm(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


@pytest.mark.parametrize(
    ("wrap", "gain", "direction"),
    [
        (
            nn.utils.parametrizations.weight_norm,
            "parametrizations.weight.original0",
            "parametrizations.weight.original1",
        ),
        (legacy_weight_norm, "weight_g", "weight_v"),
    ],
)
def test_a_weight_norm_has_a_gain_that_is_not_decayed_and_a_direction_that_is_the_weight(wrap, gain, direction):
    linear, convolution = assign_matrices(wrap(nn.Linear(4, 6))), assign_matrices(wrap(nn.Conv1d(4, 6, 3)))

    assert linear.groups == {gain: "no_decay", direction: "matrix", "bias": "no_decay"}
    assert convolution.groups == {gain: "no_decay", direction: "decay", "bias": "no_decay"}
    assert linear.reasons[gain] == "gain of a weight norm"
    assert linear.reasons[direction] == "hidden: Linear weight, direction of a weight norm"
    assert assign_groups(wrap(nn.Linear(4, 6))).groups[direction] == "decay"
    assert set(assign_groups(wrap(nn.Embedding(4, 6))).groups.values()) == {"no_decay"}


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_the_weight_before_a_spectral_norm_is_the_weight(wrap):
    groups = assign_matrices(wrap(nn.Linear(4, 6))).groups

    assert sorted(groups.values()) == ["matrix", "no_decay"]


def test_convolutions_are_decayed_and_no_matrices():
    assert groups_and_reasons(nn.Conv2d(3, 8, 4)) == {
        "weight": ("decay", "Conv2d weight; 4-D, and matrix rules take 2-D parameters"),
        "bias": ("no_decay", "bias"),
    }


# ----- modules of one's own


def module_of(name, **shapes):
    kind = type(name, (nn.Module,), {})
    module = kind()
    for attribute, shape in shapes.items():
        module.register_parameter(attribute, nn.Parameter(torch.ones(shape)))
    return module


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (module_of("LayerNorm", weight=4, bias=4), {"weight": "LayerNorm gain", "bias": "LayerNorm bias"}),
        (module_of("OwnRMSNorm", scale=4), {"scale": "OwnRMSNorm gain"}),
        (module_of("LayerNorm2d", weight=(1, 4, 1, 1)), {"weight": "LayerNorm2d gain"}),
        (module_of("Block", gamma=4), {"gamma": "vector (guess: one dimension in Block)"}),
        (module_of("Block", gamma=(4, 1, 1)), {"gamma": "vector (guess: one dimension in Block)"}),
        (module_of("Attention", pos_bias_u=(2, 4)), {"pos_bias_u": "bias"}),
        (
            module_of("VisionTransformer", pos_embed=(1, 5, 4)),
            {"pos_embed": "embedding (guess: the name is pos_embed)"},
        ),
        (module_of("TokenEmbedding", weight=(9, 4)), {"weight": "embedding (guess: the class is TokenEmbedding)"}),
    ],
)
def test_norms_vectors_and_embeddings_of_ones_own_are_not_decayed(module, expected):
    for assign in (assign_groups, assign_matrices):
        assert groups_and_reasons(module, assign) == {name: ("no_decay", reason) for name, reason in expected.items()}


def test_a_linear_layer_of_ones_own_is_a_matrix_by_guess():
    expected = {"weight": ("matrix", "hidden: Linear weight (guess: the class is FastLinear)")}

    assert groups_and_reasons(module_of("FastLinear", weight=(4, 6))) == expected


def test_a_norm_with_a_matrix_is_not_taken_for_a_norm():
    with pytest.raises(ValueError, match=r"'weight' \(1 parameter of WhiteningNorm, shape \(4, 4\)\)"):
        assign_groups(module_of("WhiteningNorm", weight=(4, 4)))


def test_routers_of_experts_are_no_matrices_and_gates_of_units_are():
    def unit():
        return module_with(gate=nn.Linear(8, 6), up=nn.Linear(8, 6), down=nn.Linear(6, 8))

    model = module_with(
        mixture=module_with(gate=nn.Linear(8, 2, bias=False), experts=nn.ModuleList([unit(), unit()])), dense=unit()
    )

    assigned = assign_matrices(model)

    assert assigned.groups["mixture.gate.weight"] == "decay"
    assert assigned.reasons["mixture.gate.weight"] == "router: its rows score experts, like a head"
    assert assigned.groups["mixture.experts.1.gate.weight"] == assigned.groups["dense.gate.weight"] == "matrix"


def test_a_matrix_of_one_row_is_decayed_by_the_other_optimizer():
    reason = "Linear weight; one row or column has no directions to orthogonalize"

    assert groups_and_reasons(nn.Linear(8, 1, bias=False)) == {"weight": ("decay", reason)}


def test_a_weight_that_lies_flat_in_a_shard_is_still_a_weight():
    linear = nn.Linear(4, 6, bias=False)
    linear.weight = nn.Parameter(linear.weight.detach().flatten()[:10])

    assert groups_and_reasons(linear, assign_groups) == {"weight": ("decay", "Linear weight")}


def test_a_parameter_that_its_module_marks_is_not_decayed():
    module = module_of("Scan", rates=(4, 3), A_log=(4, 3))
    module.rates._no_weight_decay = True

    assert groups_and_reasons(module) == {
        "rates": ("no_decay", "marked _no_weight_decay by its module"),
        "A_log": ("no_decay", "rates of a state space (guess: the name is A_log)"),
    }
