import ast

import pytest
import torch
from torch import nn

from logclock.models import EnokiConfig, LlamaConfig, Qwen3Config
from logclock.optim import ADANA, assign_groups, assign_matrices, matrix_param_groups, param_groups
from logclock.schedules import log_time_decay

WIDTH, VOCAB = 8, 32


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.rms = nn.RMSNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH, bias=False))


class Gpt(nn.Module):
    """The layout of GPT-2: learned positions, biases, nested modules, and an output head that may be tied."""

    def __init__(self, *, is_tied):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, WIDTH)
        self.positions = nn.Embedding(16, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.final_norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB, bias=False)
        if is_tied:
            self.head.weight = self.tokens.weight


DECAYED_IN_BLOCK = {"qkv.weight", "mlp.0.weight", "mlp.2.weight"}
KEPT_IN_BLOCK = {"norm.weight", "norm.bias", "qkv.bias", "rms.weight", "mlp.0.bias"}


def in_blocks(names):
    return {f"blocks.{i}.{name}" for i in range(2) for name in names}


def names_in(assignment, group):
    return {name for name, g in assignment.groups.items() if g == group}


def test_a_gpt_is_divided_by_the_convention():
    assignment = assign_groups(Gpt(is_tied=False))

    assert names_in(assignment, "decay") == in_blocks(DECAYED_IN_BLOCK) | {"head.weight"}
    assert names_in(assignment, "no_decay") == in_blocks(KEPT_IN_BLOCK) | {
        "tokens.weight",
        "positions.weight",
        "final_norm.weight",
        "final_norm.bias",
    }


def test_a_head_tied_to_the_embedding_is_not_decayed_and_appears_once():
    assignment = assign_groups(Gpt(is_tied=True))

    assert names_in(assignment, "decay") == in_blocks(DECAYED_IN_BLOCK)
    assert assignment.reasons["tokens.weight"] == "embedding, tied"
    assert "head.weight" not in assignment.groups


def test_a_head_that_comes_before_its_embedding_is_not_decayed_either():
    model = nn.Module()
    model.head = nn.Linear(WIDTH, VOCAB, bias=False)
    model.tokens = nn.Embedding(VOCAB, WIDTH)
    model.tokens.weight = model.head.weight

    assert assign_groups(model).groups == {"head.weight": "no_decay"}


def test_every_reason_is_given():
    reasons = assign_groups(Gpt(is_tied=False)).reasons

    assert reasons["tokens.weight"] == "embedding"
    assert reasons["head.weight"] == reasons["blocks.1.mlp.2.weight"] == "Linear weight"
    assert reasons["blocks.0.norm.weight"] == "LayerNorm gain"
    assert reasons["blocks.0.norm.bias"] == "LayerNorm bias"
    assert reasons["blocks.0.rms.weight"] == "RMSNorm gain"
    assert reasons["blocks.0.qkv.bias"] == "bias"


def test_enoki_decays_its_matrices_and_its_untied_head_alone():
    config = EnokiConfig(heads=4, head_dim=16, num_layers=3, vocab_size=512)
    assignment = assign_groups(config.build(seed=0))
    counts = {
        group: sum(assignment.params[name].numel() for name in names_in(assignment, group))
        for group in ("decay", "no_decay")
    }

    # Width 64: 12 d^2 L in the blocks and d V in the head; d V in the embedding, and the gains.
    assert counts == {"decay": 12 * 64**2 * 3 + 64 * 512, "no_decay": 64 * 512 + config.gain_params()}
    assert "head.weight" in names_in(assignment, "decay")
    assert "embedding.weight" in names_in(assignment, "no_decay")


def test_frozen_parameters_are_left_out():
    model = Gpt(is_tied=False)
    model.positions.weight.requires_grad_(False)

    assert "positions.weight" not in assign_groups(model).groups


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4)])
def test_norms_of_torch_are_not_decayed(norm):
    assert set(assign_groups(nn.Sequential(norm)).groups.values()) == {"no_decay"}


# ----- groups for an optimizer


def test_param_groups_are_named_and_only_the_first_is_decayed():
    model = Gpt(is_tied=False)
    decay = log_time_decay(4.0, offset=100.0)

    groups = param_groups(model, weight_decay=decay, lr=0.5)

    params = dict(model.named_parameters())
    assert {name for name, _ in groups[0]["params"]} == in_blocks(DECAYED_IN_BLOCK) | {"head.weight"}
    assert all(param is params[name] for group in groups for name, param in group["params"])
    assert sum(len(group["params"]) for group in groups) == len(params)
    assert groups[0]["weight_decay"] == decay
    assert groups[0]["lr"] == 0.5
    assert set(groups[1]) == {"params", "weight_decay"}
    assert groups[1]["weight_decay"] == 0.0


def test_param_groups_keep_the_order_of_the_model():
    groups = param_groups(Gpt(is_tied=False))

    order = [name for name, _ in Gpt(is_tied=False).named_parameters()]
    for group in groups:
        names = [name for name, _ in group["params"]]
        assert names == sorted(names, key=order.index)


def test_a_group_without_members_is_left_out():
    assert [g.get("weight_decay") for g in param_groups(nn.Linear(2, 2, bias=False), weight_decay=0.1)] == [0.1]
    assert [g["weight_decay"] for g in param_groups(nn.LayerNorm(2), weight_decay=0.1)] == [0.0]


def test_torch_takes_the_groups():
    optimizer = torch.optim.SGD(param_groups(Gpt(is_tied=True), weight_decay=0.1), lr=0.1)

    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert "blocks.0.qkv.weight" in optimizer.param_groups[0]["param_names"]


# ----- overrides


def test_an_override_goes_before_the_rules_by_pattern():
    model = Gpt(is_tied=False)

    assignment = assign_groups(model, overrides={"*.bias": "decay", "head.weight": "no_decay"})

    assert assignment.groups["blocks.0.qkv.bias"] == assignment.groups["blocks.1.norm.bias"] == "decay"
    assert assignment.groups["head.weight"] == "no_decay"
    assert assignment.reasons["head.weight"] == "override 'head.weight'"
    assert assignment.groups["blocks.0.qkv.weight"] == "decay"


def test_the_last_matching_override_wins():
    overrides = {"blocks.*": "no_decay", "blocks.1.qkv.weight": "decay"}

    groups = assign_groups(Gpt(is_tied=False), overrides=overrides).groups

    assert groups["blocks.0.qkv.weight"] == "no_decay"
    assert groups["blocks.1.qkv.weight"] == "decay"


@pytest.mark.parametrize("overrides", [{"haed.weight": "decay"}, {"head.weight": "decay", "blocks.7.*": "no_decay"}])
def test_an_override_that_matches_nothing_is_an_error(overrides):
    wrong = list(overrides)[-1]
    with pytest.raises(ValueError, match=rf"^overrides match no trainable parameter: '{wrong}'\.$".replace("*", r"\*")):
        param_groups(Gpt(is_tied=False), overrides=overrides)


def test_an_override_to_an_unknown_group_is_an_error():
    with pytest.raises(ValueError, match=r"overrides\['head\.weight'\] must be 'decay' or 'no_decay', got 'none'\."):
        assign_groups(Gpt(is_tied=False), overrides={"head.weight": "none"})


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.temperature = nn.Parameter(torch.ones(()))


def test_a_scalar_of_an_unknown_module_is_not_decayed_and_called_a_guess():
    assignment = assign_groups(Scaled())

    assert assignment.groups["temperature"] == "no_decay"
    assert assignment.reasons["temperature"] == "vector (guess: scalar in Scaled)"


# ----- what no rule covers


class Mixer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.rates = nn.Parameter(torch.zeros(width, 3))
        self.up = nn.Linear(width, width)


class Mixed(nn.Module):
    """Thirty layers with a parameter without a rule, one with its name elsewhere, one in a dictionary with odd keys."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Mixer(4) for _ in range(30)])
        self.rates = nn.Parameter(torch.zeros(2, 2))
        self.odd = nn.ParameterDict({"a[0]": torch.zeros(2, 2)})


def test_parameters_that_no_rule_covers_are_listed_by_pattern_in_one_error():
    with pytest.raises(ValueError, match="no rule says") as caught:
        param_groups(Mixed())

    assert str(caught.value).splitlines() == [
        "no rule says whether 32 parameters should be decayed:",
        "  'rates' (1 parameter of Mixed, shape (2, 2))",
        "  'layers.*.rates' (30 parameters of Mixer, shape (4, 3))",
        "  'odd.a[[]0]' (1 parameter of ParameterDict, shape (2, 2))",
        "Say so, with 'no_decay' where that is right: "
        "overrides={'rates': 'decay', 'layers.*.rates': 'decay', 'odd.a[[]0]': 'decay'}",
    ]


@pytest.mark.parametrize("given", [{}, {"layers.1.*": "no_decay"}])
@pytest.mark.parametrize("assign", [assign_groups, assign_matrices])
def test_the_overrides_of_the_error_cover_everything_and_change_nothing_else(assign, given):
    with pytest.raises(ValueError, match="no rule says") as caught:
        assign(Mixed(), overrides=given)
    pasted = ast.literal_eval(str(caught.value).rpartition("overrides=")[2])

    assignment = assign(Mixed(), overrides=pasted)

    assert pasted.items() >= given.items()
    assert names_in(assignment, "decay") >= {"rates", "odd.a[0]", "layers.0.rates", "layers.29.rates"}
    assert ("layers.1.rates" in names_in(assignment, "no_decay")) == bool(given)
    assert assignment.reasons["layers.2.up.bias"] == "bias"


def test_a_pattern_that_would_reach_further_gives_way_to_names():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(2, 2), Mixer(4)])
    for index, layer in enumerate(model.layers):
        layer.rates = nn.Parameter(torch.zeros(4, 3)) if index else nn.Embedding(2, 2).weight
    model.layers[0].rates._no_weight_decay = True

    with pytest.raises(ValueError, match=r"'layers\.1\.rates' \(1 parameter of Mixer") as caught:
        assign_groups(model)

    assert "layers.*" not in str(caught.value)


def test_a_parameter_without_a_shape_is_refused():
    with pytest.raises(ValueError, match=r"'0\.weight' has no shape yet.*Send one batch through the model first"):
        param_groups(nn.Sequential(nn.LazyLinear(4)))


# ----- the table


def test_the_assignment_prints_as_a_table():
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 2), nn.LayerNorm(2))

    assert str(assign_groups(model)).splitlines() == [
        "no_decay  0.weight  1000x4  embedding",
        "decay     1.weight  2x4     Linear weight",
        "no_decay  1.bias    2       bias",
        "no_decay  2.weight  2       LayerNorm gain",
        "no_decay  2.bias    2       LayerNorm bias",
        "decay: 8 parameters",
        "no_decay: 4,006 parameters",
    ]


def test_scalars_and_overrides_stand_in_the_table():
    lines = str(assign_groups(Scaled(), overrides={"temp*": "no_decay"})).splitlines()

    assert "no_decay  temperature    scalar  override 'temp*'" in lines


def test_a_model_without_parameters_prints_its_totals():
    assert str(assign_groups(nn.GELU())) == "decay: 0 parameters\nno_decay: 0 parameters"
    assert param_groups(nn.GELU()) == []


def groups_of_names(groups):
    return [[name for name, _ in group["params"]] for group in groups]


def matrix_groups(model, **settings):
    return matrix_param_groups(
        model, matrices={"algorithm": "muon", "lr": 0.02}, rest={"algorithm": "adana", "weight_decay": 1e-3}, **settings
    )


@pytest.mark.parametrize("is_tied", [False, True])
def test_hidden_matrices_are_neither_embeddings_nor_the_head(is_tied):
    assignment = assign_matrices(Gpt(is_tied=is_tied))

    assert names_in(assignment, "matrix") == in_blocks(DECAYED_IN_BLOCK)
    assert names_in(assignment, "decay") == (set() if is_tied else {"head.weight"})
    assert "tokens.weight" in names_in(assignment, "no_decay")
    assert "matrix: " in str(assignment)
    if not is_tied:
        assert "as many outputs as an embedding has rows" in assignment.reasons["head.weight"]


@pytest.mark.parametrize(
    "config",
    [
        EnokiConfig(heads=2, head_dim=8, num_layers=2, vocab_size=48),
        Qwen3Config(heads=2, head_dim=8, num_layers=2, vocab_size=48),
        LlamaConfig(heads=2, num_layers=2, vocab_size=48),
    ],
)
def test_the_models_here_send_two_dimensional_hidden_weights_to_the_matrix_optimizer(config):
    model = config.build(seed=0)
    matrices, *rest = groups_of_names(matrix_groups(model))

    assert all(".weight" in name and name.startswith("blocks.") for name in matrices)
    assert all(dict(model.named_parameters())[name].dim() == 2 for name in matrices)
    others = {name for names in rest for name in names}
    assert others == {name for name, _ in model.named_parameters()} - set(matrices)
    assert {"embedding.weight"} <= others


def test_matrix_groups_become_one_optimizer_of_two_algorithms():
    optimizer = ADANA(matrix_groups(Gpt(is_tied=False)), lr=1e-3)

    kinds = [(group["algorithm"], group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert kinds == [("muon", 0.02, 0.1), ("adana", 1e-3, 1e-3), ("adana", 1e-3, 0.0)]


def test_fused_projections_can_be_cut_into_blocks():
    groups = matrix_groups(Gpt(is_tied=False), row_blocks={"*qkv*": 3})

    assert [group.get("row_blocks", 1) for group in groups[:2]] == [1, 3]
    assert groups_of_names(groups)[1] == ["blocks.0.qkv.weight", "blocks.1.qkv.weight"]


def test_an_override_moves_a_matrix():
    groups = matrix_groups(Gpt(is_tied=False), overrides={"*mlp.0*": "decay", "head.weight": "matrix"})

    matrices, decayed = groups_of_names(groups)[:2]
    assert "head.weight" in matrices
    assert "blocks.0.mlp.0.weight" in decayed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row_blocks": {"*kv_proj*": 2}}, r"row_blocks match no hidden matrix: '\*kv_proj\*'"),
        ({"overrides": {"*qkv.bias": "matrix"}}, r"send 'blocks\.0\.qkv\.bias' of shape \(24,\) to 'matrix'"),
        ({"overrides": {"*qkv*": "muon"}}, r"must be 'matrix' or 'decay' or 'no_decay', got 'muon'"),
    ],
)
def test_what_cannot_be_routed_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        matrix_groups(Gpt(is_tied=False), **settings)


def test_a_model_without_hidden_matrices_is_refused():
    model = nn.Sequential(nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB))

    with pytest.raises(ValueError, match=r"Sequential has no hidden matrix.*logclock\.param_groups"):
        matrix_groups(model)


def test_projections_may_be_cut_into_parts_of_different_sizes():
    model = Gpt(is_tied=False)
    groups = matrix_groups(model, row_blocks={"*qkv*": [2 * WIDTH, WIDTH // 2, WIDTH // 2], "*mlp.0*": 2})
    optimizer = ADANA(groups, lr=1e-3)

    assert [group.get("row_blocks") for group in optimizer.param_groups[:3]] == [1, 2, [16, 4, 4]]
    assert groups_of_names(groups)[2] == ["blocks.0.qkv.weight", "blocks.1.qkv.weight"]
    with pytest.raises(ValueError, match=r"row_blocks must sum to the 24 rows, got \[8, 8\]"):
        ADANA(matrix_groups(model, row_blocks={"*qkv*": (8, 8)}))


class Mixture(nn.Module):
    """A router, experts in stacks, one of which has a single row each, and a depthwise convolution."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, WIDTH)
        self.mlp = nn.Module()
        self.mlp.router = nn.Linear(WIDTH, 4, bias=False)
        self.mlp.experts = nn.Module()
        self.mlp.experts.up = nn.Parameter(torch.zeros(4, 2 * WIDTH, WIDTH))
        self.mlp.experts.gain = nn.Parameter(torch.zeros(4, 1, WIDTH))
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, VOCAB, bias=False)


@pytest.mark.parametrize(("algorithm", "stacks"), [("muon", {"mlp.experts.up"}), ("soap", set())])
def test_stacked_experts_go_to_an_algorithm_that_takes_stacks(algorithm, stacks):
    groups = matrix_param_groups(
        Mixture(), matrices={"algorithm": algorithm, "lr": 0.02}, rest={"algorithm": "adamw", "lr": 1e-3}
    )
    ADANA(groups)  # which checks every shape

    matrices, decayed = groups_of_names(groups)[:2]
    assert set(matrices) == {"hidden.weight"} | stacks
    assert {"mlp.router.weight", "conv.weight", "mlp.experts.gain", "head.weight"} <= set(decayed)


def test_embeddings_and_heads_may_have_groups_of_their_own():
    groups = matrix_param_groups(
        Gpt(is_tied=False),
        matrices={"algorithm": "muon", "lr": 0.02},
        rest={"algorithm": "adamw", "weight_decay": 0.1},
        embeddings={"algorithm": "lion", "lr": 1e-4},
        heads={"algorithm": "signum", "lr": 1e-4},
    )

    names = groups_of_names(groups)
    assert [group["algorithm"] for group in groups] == ["muon", "lion", "signum", "adamw"]
    assert names[1] == ["tokens.weight", "positions.weight"]
    assert names[2] == ["head.weight"]
    assert groups[3]["weight_decay"] == 0.0
    assert sum(map(len, names)) == len(list(Gpt(is_tied=False).parameters()))


def test_keys_for_a_kind_that_a_model_does_not_have_are_refused():
    message = r"Gpt has no head of its own \(a head that is tied .*\)\. Leave heads out\."
    with pytest.raises(ValueError, match=message):
        matrix_groups(Gpt(is_tied=True), heads={"lr": 1e-4})
