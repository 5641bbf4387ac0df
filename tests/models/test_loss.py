import math

import numpy as np
import pytest
import torch

from logclock.models import EnokiConfig, LossParts, head_loss, language_model_loss

LOGITS = np.random.default_rng(0).normal(size=(2, 3, 7)) * 3
TARGETS = np.array([[0, 6, 3], [3, 3, 1]])


def by_hand(logits, targets):
    """Return cross-entropy and z-loss token by token in float64."""
    cross_entropies, squares = [], []
    for row, target in zip(logits.reshape(-1, logits.shape[-1]), targets.ravel(), strict=True):
        logz = math.log(sum(math.exp(x) for x in row))
        cross_entropies.append(logz - row[target])
        squares.append(logz**2)
    return np.mean(cross_entropies), np.mean(squares)


def test_two_tokens_by_hand():
    logits_BLV = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]]], dtype=torch.float64)

    parts = language_model_loss(logits_BLV, torch.tensor([[1, 0]]))

    # Denominators 4 and 2: (log(4/3) + log 2) / 2 and (log(4)^2 + log(2)^2) / 2.
    assert parts.cross_entropy.item() == pytest.approx(0.4904146265058631, rel=1e-15)
    assert parts.z_loss.item() == pytest.approx(1.2011325347955035, rel=1e-15)
    assert parts.total(0.5).item() == pytest.approx(0.4904146265058631 + 0.6005662673977518, rel=1e-15)


def test_loss_equals_a_token_by_token_sum():
    parts = language_model_loss(torch.tensor(LOGITS), torch.tensor(TARGETS))

    cross_entropy, z_loss = by_hand(LOGITS, TARGETS)
    assert parts.cross_entropy.item() == pytest.approx(cross_entropy, rel=1e-14)
    assert parts.z_loss.item() == pytest.approx(z_loss, rel=1e-14)


@pytest.mark.parametrize("coefficient", [0.0, 1e-4, 0.3])
def test_gradient_equals_that_of_the_plain_composition(coefficient):
    logits_BLV = torch.tensor(LOGITS, requires_grad=True)
    plain_BLV = torch.tensor(LOGITS, requires_grad=True)
    targets_BL = torch.tensor(TARGETS)

    (2.5 * language_model_loss(logits_BLV, targets_BL).total(coefficient)).backward()
    logz_BL = plain_BLV.exp().sum(-1).log()
    target_BL = plain_BLV.gather(-1, targets_BL[..., None]).squeeze(-1)
    (2.5 * ((logz_BL - target_BL).mean() + coefficient * (logz_BL**2).mean())).backward()

    torch.testing.assert_close(logits_BLV.grad, plain_BLV.grad, rtol=0, atol=1e-15)


def test_gradient_of_the_z_loss_alone_is_right():
    logits_BLV = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)

    language_model_loss(logits_BLV, torch.tensor([[0]])).z_loss.backward()

    np.testing.assert_allclose(logits_BLV.grad[0, 0].numpy(), [math.log(2), math.log(2)], rtol=1e-15)


def test_z_loss_stays_out_of_the_cross_entropy():
    # Adding a constant to the logits changes the denominator and nothing else.
    targets_BL = torch.tensor(TARGETS)
    parts = language_model_loss(torch.tensor(LOGITS), targets_BL)
    shifted = language_model_loss(torch.tensor(LOGITS + 50.0), targets_BL)

    assert shifted.cross_entropy.item() == pytest.approx(parts.cross_entropy.item(), rel=1e-13)
    assert shifted.z_loss.item() > 2000
    assert parts.total(0.0) is parts.cross_entropy


def test_a_zero_coefficient_is_not_poisoned_by_an_infinite_z_loss():
    parts = LossParts(cross_entropy=torch.tensor(2.0), z_loss=torch.tensor(math.inf))

    assert parts.total(0.0).item() == 2.0
    assert parts.total(1e-4).item() == math.inf


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_logits_give_a_float32_loss_and_a_gradient_of_their_dtype(dtype):
    logits_BLV = torch.tensor(LOGITS).to(dtype).requires_grad_()

    parts = language_model_loss(logits_BLV, torch.tensor(TARGETS))
    parts.total(1e-4).backward()

    cross_entropy, z_loss = by_hand(logits_BLV.detach().double().numpy(), TARGETS)
    assert parts.cross_entropy.dtype == parts.z_loss.dtype == torch.float32
    assert parts.cross_entropy.item() == pytest.approx(cross_entropy, rel=1e-6)  # some ulps of float32, not bfloat16
    assert parts.z_loss.item() == pytest.approx(z_loss, rel=1e-6)
    assert logits_BLV.grad.dtype == dtype


def test_loss_of_a_model_under_bfloat16_autocast_is_float32_with_float32_gradients():
    model = EnokiConfig(heads=2, head_dim=16, vocab_size=256).build(seed=0)
    tokens_BL = torch.randint(256, (2, 9), generator=torch.Generator().manual_seed(0))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_BLV = model(tokens_BL[:, :-1])
        parts = language_model_loss(logits_BLV, tokens_BL[:, 1:])
    parts.total(0.0).backward()

    assert logits_BLV.dtype == torch.bfloat16
    assert parts.cross_entropy.dtype == parts.z_loss.dtype == torch.float32
    assert all(p.grad.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_large_logits_do_not_overflow():
    parts = language_model_loss(torch.tensor([[[1e4, 0.0]]]), torch.tensor([[0]]))

    assert parts.cross_entropy.item() == 0.0
    assert parts.z_loss.item() == 1e8


def test_a_second_backward_pass_is_refused_rather_than_wrong():
    logits_BLV = torch.tensor(LOGITS, requires_grad=True)
    loss = language_model_loss(logits_BLV, torch.tensor(TARGETS)).total(0.0)
    loss.backward(retain_graph=True)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_are_refused_rather_than_dropped():
    logits_BLV = torch.tensor(LOGITS, requires_grad=True)
    loss = language_model_loss(logits_BLV, torch.tensor(TARGETS)).total(0.0)

    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(loss, logits_BLV, create_graph=True)


@pytest.mark.parametrize("shape", [(2, 4), (3, 2), (6,), (2, 3, 1)])
def test_targets_of_another_shape_are_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"got logits \(2, 3, 7\) and targets"):
        language_model_loss(torch.tensor(LOGITS), torch.zeros(shape, dtype=torch.long))


def test_a_mean_over_no_tokens_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        language_model_loss(torch.zeros(0, 3, 7), torch.zeros(0, 3, dtype=torch.long))


def head_problem(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden_BLD = torch.randn(2, 5, 4, generator=generator, dtype=dtype).requires_grad_()
    head_VD = torch.randn(11, 4, generator=generator, dtype=dtype).requires_grad_()
    return hidden_BLD, head_VD, torch.randint(11, (2, 5), generator=generator)


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 9])
def test_a_head_in_chunks_has_the_loss_and_gradient_of_the_plain_composition(z_loss, chunk_tokens):
    hidden_BLD, head_VD, targets_BL = head_problem()
    plain_hidden, plain_head = (x.detach().clone().requires_grad_() for x in (hidden_BLD, head_VD))

    objective = head_loss(hidden_BLD, head_VD, targets_BL, z_loss=z_loss, max_logits=11 * chunk_tokens)
    (2.5 * objective.value).backward()
    logits_NV = (plain_hidden @ plain_head.T).flatten(0, 1)
    cross_entropy = torch.nn.functional.cross_entropy(logits_NV, targets_BL.flatten())
    (2.5 * (cross_entropy + z_loss * (logits_NV.logsumexp(-1) ** 2).mean())).backward()

    torch.testing.assert_close(objective.cross_entropy, cross_entropy.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(hidden_BLD.grad, plain_hidden.grad, rtol=0, atol=4e-15)
    torch.testing.assert_close(head_VD.grad, plain_head.grad, rtol=0, atol=4e-15)


def test_a_head_whose_logits_fit_is_the_plain_loss_bit_for_bit():
    hidden_BLD, head_VD, targets_BL = head_problem(torch.float32)
    plain_hidden, plain_head = (x.detach().clone().requires_grad_() for x in (hidden_BLD, head_VD))

    objective = head_loss(hidden_BLD, head_VD, targets_BL, z_loss=0.1)
    objective.value.backward()
    parts = language_model_loss(torch.nn.functional.linear(plain_hidden, plain_head), targets_BL)
    parts.total(0.1).backward()

    assert torch.equal(objective.cross_entropy, parts.cross_entropy)
    assert torch.equal(hidden_BLD.grad, plain_hidden.grad)
    assert torch.equal(head_VD.grad, plain_head.grad)


def test_a_head_in_chunks_computes_in_the_dtype_of_autocast():
    hidden_BLD, head_VD, targets_BL = head_problem(torch.float32)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunked = head_loss(hidden_BLD, head_VD, targets_BL, max_logits=33)
        whole = head_loss(hidden_BLD, head_VD, targets_BL)
    chunked.value.backward()

    assert chunked.cross_entropy.dtype == hidden_BLD.grad.dtype == torch.float32
    torch.testing.assert_close(chunked.cross_entropy, whole.cross_entropy, rtol=1e-6, atol=0)


def test_a_head_in_chunks_refuses_what_it_cannot_do():
    hidden_BLD, head_VD, targets_BL = head_problem()
    value = head_loss(hidden_BLD, head_VD, targets_BL, max_logits=11).value

    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(value, head_VD, create_graph=True)
    value = head_loss(hidden_BLD, head_VD, targets_BL, max_logits=11).value
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second time"):
        value.backward()
    with pytest.raises(ValueError, match=r"hidden states \(2, 5, 4\), head \(11, 4\) and targets \(2, 4\)"):
        head_loss(hidden_BLD, head_VD, targets_BL[:, :4], max_logits=11)


def test_without_a_gradient_nothing_is_kept():
    hidden_BLD, head_VD, targets_BL = head_problem()

    with torch.no_grad():
        objective = head_loss(hidden_BLD, head_VD, targets_BL, max_logits=22)

    assert not objective.value.requires_grad
    plain = torch.nn.functional.cross_entropy((hidden_BLD @ head_VD.T).flatten(0, 1), targets_BL.flatten())
    torch.testing.assert_close(objective.cross_entropy, plain.detach(), rtol=1e-14, atol=0)
