import warnings

import pytest
import torch
from torch import nn

from logclock.models import LlamaConfig
from logclock.optim import assign_groups, assign_matrices, matrix_param_groups

WIDTH, VOCAB = 24, 101


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)


def model_of(*, vocab=VOCAB, width=WIDTH, **layers):
    """Build a model of an embedding, two blocks and named layers; `first_NAME` stands before the embedding."""
    model = nn.Module()
    for name, layer in layers.items():
        if name.startswith("first_"):
            setattr(model, name.removeprefix("first_"), layer)
    model.wte = nn.Embedding(vocab, width)
    model.blocks = nn.ModuleList([Block(width), Block(width)])
    for name, layer in layers.items():
        if not name.startswith("first_"):
            setattr(model, name, layer)
    return model


def heads_of(model):
    """Return the reasons of what is taken for heads; everything else with two dimensions is hidden or an embedding."""
    assignment = assign_matrices(model)
    heads = {name: reason for name, reason in assignment.reasons.items() if reason.startswith("head")}
    for name, group in assignment.groups.items():
        if name in heads:
            assert group == "decay"
        elif assignment.params[name].dim() == 2 and not assignment.reasons[name].startswith("embedding"):
            assert group == "matrix", name
    return heads


BY_ROWS = "head: as many outputs as an embedding has rows"


@pytest.mark.parametrize(
    ("model", "head"),
    [
        (model_of(lm_head=nn.Linear(WIDTH, VOCAB)), "lm_head.weight"),
        (model_of(first_unproject=nn.Linear(WIDTH, VOCAB)), "unproject.weight"),
        (model_of(first_unproject=nn.Linear(64, VOCAB), positions=nn.Embedding(64, 64), width=64), "unproject.weight"),
        # As many rows of the vocabulary as the width, or as the inner width: the name decides.
        (model_of(vocab=WIDTH, first_head=nn.Linear(WIDTH, WIDTH)), "head.weight"),
        (model_of(vocab=4 * WIDTH, first_lm_head=nn.Linear(WIDTH, 4 * WIDTH)), "lm_head.weight"),
        (model_of(positions=nn.Embedding(1024, WIDTH), unproject=nn.Linear(WIDTH, VOCAB)), "unproject.weight"),
        (nn.Sequential(model_of(), nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB))), "1.1.weight"),
    ],
)
def test_a_head_of_the_size_of_the_vocabulary_is_certain(model, head):
    assert heads_of(model) == {head: BY_ROWS}
    assert assign_matrices(model).notes == ()


def test_several_heads_are_all_found():
    heads = nn.ModuleList([nn.Linear(WIDTH, VOCAB), nn.Linear(WIDTH, VOCAB)])

    assert heads_of(model_of(heads=heads)) == {"heads.0.weight": BY_ROWS, "heads.1.weight": BY_ROWS}


@pytest.mark.parametrize("name", ["lm_head", "first_lm_head", "unproject", "first_unproject"])
@pytest.mark.parametrize(("vocab", "padded"), [(101, 104), (101, 128), (700, 1024), (50257, 50304)])
def test_a_padded_head_is_a_guess(name, vocab, padded):
    model = model_of(vocab=vocab, **{name: nn.Linear(WIDTH, padded, bias=False)})

    weight = f"{name.removeprefix('first_')}.weight"
    assert heads_of(model) == {weight: f"head (guess): {padded} outputs, an embedding's rows padded"}


def test_a_padded_head_as_wide_as_a_hidden_layer_is_found_outside_the_blocks():
    model = model_of(vocab=4 * WIDTH - 5, unproject=nn.Linear(WIDTH, 4 * WIDTH))

    assert list(heads_of(model)) == ["unproject.weight"]


@pytest.mark.parametrize(
    ("layers", "head", "reason"),
    [
        ({"classifier": nn.Linear(WIDTH, 3)}, "classifier.weight", "its name, with 3 outputs"),
        ({"first_classifier": nn.Linear(WIDTH, 3)}, "classifier.weight", "its name, with 3 outputs"),
        ({"score": nn.Linear(WIDTH, WIDTH)}, "score.weight", f"its name, with {WIDTH} outputs"),
        ({"fc": nn.Linear(WIDTH, 5)}, "fc.weight", "its name, with 5 outputs"),
        ({"labels": nn.Linear(WIDTH, 5)}, "labels.weight", "the last layer, with 5 outputs"),
        (
            {"classifier": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3))},
            "classifier.2.weight",
            "its name, with 3 outputs",
        ),
        (
            {"pooler": nn.Linear(WIDTH, WIDTH), "labels": nn.Linear(WIDTH, 3)},
            "labels.weight",
            "the last layer, with 3 outputs",
        ),
    ],
)
def test_a_classifier_is_a_guess(layers, head, reason):
    assert heads_of(model_of(**layers)) == {head: f"head (guess): {reason}"}


def test_a_classifier_without_an_embedding_is_a_guess_too():
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    assert heads_of(model) == {"2.weight": "head (guess): the last layer, with 10 outputs"}


def test_a_second_named_head_does_not_hide_a_padded_one():
    model = model_of(first_unproject=nn.Linear(WIDTH, 104), value_head=nn.Linear(WIDTH, 2))

    assert set(heads_of(model)) == {"unproject.weight", "value_head.weight"}


def test_all_layers_that_score_a_vocabulary_are_taken_for_heads():
    model = model_of(first_now=nn.Linear(WIDTH, VOCAB), next=nn.Linear(WIDTH, VOCAB), later=nn.Linear(WIDTH, 104))

    assert heads_of(model) == {
        "now.weight": "head (guess): as many outputs as an embedding has rows",
        "next.weight": "head (guess): as many outputs as an embedding has rows",
        "later.weight": "head (guess): 104 outputs, an embedding's rows padded",
    }


def test_the_last_of_many_candidates_is_a_guess_that_counts_the_others():
    model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))

    assert assign_matrices(model).reasons["2.weight"] == (
        "head (guess): as many outputs as an embedding has rows, but so have others (1)"
    )


def test_the_second_head_of_a_model_with_a_tied_one_is_found():
    model = model_of(lm_head=nn.Linear(WIDTH, VOCAB, bias=False), classifier=nn.Linear(WIDTH, 3))
    model.lm_head.weight = model.wte.weight

    assert heads_of(model) == {"classifier.weight": "head (guess): its name, with 3 outputs"}
    assert assign_matrices(model).reasons["wte.weight"] == "embedding, tied"


def test_what_a_model_declares_as_its_head_is_certain():
    class Declaring(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte = nn.Embedding(VOCAB, WIDTH)
            self.projection = nn.Linear(WIDTH, 3 * WIDTH)
            self.hidden = nn.Linear(3 * WIDTH, WIDTH)

        def get_output_embeddings(self):
            return self.projection

    assert heads_of(Declaring()) == {"projection.weight": "head: get_output_embeddings() returns it"}


def test_a_head_under_a_weight_norm_is_found():
    model = model_of(out=nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, VOCAB)))

    assert assign_matrices(model).reasons["out.parametrizations.weight.original1"] == BY_ROWS


def test_a_head_as_a_bare_parameter_is_decayed():
    model = model_of()
    model.lm_head = nn.Parameter(torch.zeros(WIDTH, VOCAB))

    for assign in (assign_groups, assign_matrices):
        assert assign(model).groups["lm_head"] == "decay"
        assert assign(model).reasons["lm_head"] == "head (guess: the name is lm_head)"


# ----- what is said about a guess


def warnings_of(model, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        matrix_param_groups(model, matrices={}, rest={}, **settings)
    return [str(warning.message) for warning in caught]


def test_a_guess_is_a_warning_and_a_line_below_the_table():
    model = model_of(lm_head=nn.Linear(WIDTH, 104))

    (warning,) = warnings_of(model)

    assert warning.startswith(
        "the output head of Module is a guess: 'lm_head.weight' (104 outputs, an embedding's rows padded)"
    )
    assert "overrides={'lm_head.weight': 'decay'}" in warning
    assert str(assign_matrices(model)).splitlines()[-1] == warning


@pytest.mark.parametrize("group", ["decay", "matrix"])
def test_an_override_of_the_guess_answers_it(group):
    model = model_of(lm_head=nn.Linear(WIDTH, 104))

    assert warnings_of(model, overrides={"lm_head.weight": group}) == []
    assert assign_matrices(model, overrides={"lm_head.weight": group}).groups["lm_head.weight"] == group


def test_a_model_with_an_embedding_and_no_head_is_told_so_until_it_answers():
    model = model_of(pooler=nn.Linear(WIDTH, WIDTH))

    (warning,) = warnings_of(model)

    assert warning.startswith("no output head was found in Module, which has an embedding.")
    assert warnings_of(model, overrides={"wte.weight": "no_decay"}) == []


def test_a_head_that_is_none_says_that_the_embedding_makes_the_logits():
    model = model_of()
    model.lm_head = None

    assert warnings_of(model) == []
    assert heads_of(model) == {}


def test_a_tied_model_of_ours_whose_width_is_its_vocabulary_keeps_all_its_matrices():
    model = LlamaConfig(heads=2, head_dim=32, num_layers=2, vocab_size=64).build(seed=0)
    assert model.embedding.weight.shape == (64, 64)

    assert heads_of(model) == {}
    assert warnings_of(model) == []


def test_no_warning_comes_where_the_head_is_certain_or_not_trained():
    frozen = model_of(classifier=nn.Linear(WIDTH, 3).requires_grad_(False))

    assert warnings_of(model_of(lm_head=nn.Linear(WIDTH, VOCAB))) == []
    assert warnings_of(frozen) == []
    assert warnings_of(model_of(value=nn.Linear(WIDTH, VOCAB), score=nn.Linear(WIDTH, 1))) == []
