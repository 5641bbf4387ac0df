"""Are the matrices of any safetensors file found and measured, and is a useless file refused with a reason?"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from logclock.analysis.diagnosis import BITS
from logclock.diagnostics.weights import FileWeights, TensorWeights, matrix_facts


def facts_of(tensors, **settings):
    found, left_out, warnings = matrix_facts(TensorWeights(tensors), source="m", **settings)
    return {one.name: one for one in found}, left_out, warnings


def rounded(row, bits):
    """A row in whole steps, from the definition."""
    step = max(map(abs, row)) / (2 ** (bits - 1) - 1)
    return [step * np.rint(value / step) for value in row]


def test_numbers_of_a_matrix_agree_with_numpy_from_the_definitions():
    matrix = np.random.default_rng(0).standard_normal((6, 10))

    one = facts_of({"w": torch.from_numpy(matrix)})[0]["w"]

    values = np.linalg.svd(matrix, compute_uv=False)
    shares = values**2 / np.sum(values**2)
    assert one.shape == (6, 10)
    assert one.singular_values == pytest.approx(values, rel=1e-12)
    assert one.soft_rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-12)
    assert one.hard_rank == pytest.approx(1 / np.sum(shares**2), rel=1e-12)
    for bits in BITS:
        change = np.array([rounded(row, bits) for row in matrix]) - matrix
        assert one.errors[bits] == pytest.approx(np.sum(change**2) / np.sum(matrix**2), rel=1e-10)


def test_a_file_of_another_model_is_read_whatever_its_names_and_formats(tmp_path):
    path = tmp_path / "foreign.safetensors"
    eye = torch.eye(8)
    save_file(
        {
            "transformer.h.0.w": (2 * eye).to(torch.bfloat16),
            "transformer.h.0.half": (0.5 * eye).to(torch.float16),
            "moe.experts": torch.stack([eye, 3 * eye]),
            "conv.weight": torch.ones(4, 1, 3),
            "bias": torch.ones(8),
            "packed": torch.ones(8, 8, dtype=torch.int8),
            "nothing": torch.ones(0, 4),
        },
        path,
    )

    found, left_out, warnings = matrix_facts(FileWeights(path), source="foreign")

    top = {one.name: (one.shape, one.singular_values[0]) for one in found}
    assert top == {
        "transformer.h.0.w": ((8, 8), 2.0),
        "transformer.h.0.half": ((8, 8), 0.5),
        "moe.experts[0]": ((8, 8), 1.0),
        "moe.experts[1]": ((8, 8), 3.0),
        "conv.weight": ((4, 3), pytest.approx(12**0.5)),
    }
    assert [one.soft_rank for one in found if one.shape == (8, 8)] == pytest.approx([8.0] * 4)
    assert left_out == {
        "left out, vectors and numbers": "1: bias",
        "left out, not of a floating type": "1: packed",
        "left out, empty": "1: nothing",
    }
    assert warnings == ()


def test_a_matrix_that_is_not_finite_is_named_and_does_not_spoil_the_others():
    broken = torch.ones(3, 3)
    broken[1, 1] = torch.nan

    found, _, warnings = facts_of({"a": broken, "b": torch.eye(3)})

    assert (found["a"].singular_values, found["a"].errors[4]) == ((), None)
    assert found["b"].hard_rank == pytest.approx(3.0)
    assert warnings == ("1 matrices with entries that are not finite, without numbers: a",)


def test_a_matrix_of_zeros_has_no_ranks_and_no_errors():
    one = facts_of({"z": torch.zeros(3, 4)})[0]["z"]

    assert one.singular_values == (0.0, 0.0, 0.0)
    assert (one.soft_rank, one.hard_rank, one.kurtosis, one.max_to_median) == (None,) * 4
    assert set(one.errors.values()) == {None}


def test_only_matrices_that_fit_the_pattern_are_looked_at():
    tensors = {"a.mlp.w": torch.eye(3), "a.attn.w": torch.eye(3)}

    assert list(facts_of(tensors, pattern="*mlp*")[0]) == ["a.mlp.w"]
    with pytest.raises(ValueError, match=r"m has no weight matrix whose name fits '\*x\*'; its 2 tensors are a.mlp.w"):
        facts_of(tensors, pattern="*x*")


def test_a_file_without_matrices_is_refused(tmp_path):
    path = tmp_path / "vectors.safetensors"
    save_file({"gain": torch.ones(4)}, path)

    with pytest.raises(ValueError, match=r"has no weight matrix; its 1 tensors are gain\. Diagnostics need floating"):
        matrix_facts(FileWeights(path), source=str(path))


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", b"\xff" * 64])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)

    with pytest.raises(
        ValueError, match=r"bad.safetensors is no safetensors file, or damaged .* Write or copy it again"
    ):
        FileWeights(path)


def test_a_file_that_was_cut_off_is_refused_by_name(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"w": torch.ones(40, 40)}, path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ValueError, match=r"cut\.safetensors is no safetensors file, or damaged"):
        FileWeights(path)
