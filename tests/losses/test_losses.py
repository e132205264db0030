"""Losses against independent loops, closed forms and brute-force expectations."""

import math

import numpy as np
import pytest
import torch

from avrec.losses.bpr import BPR
from avrec.losses.softmax import Softmax


def naive_softmax(scores, target, valid, log_q, temperature, correct_positive):
    losses = []
    for row in range(len(scores)):
        logits = {}
        for column in range(scores.shape[1]):
            if not (valid[row][column] or target[row][column]):
                continue
            correction = log_q[column] if correct_positive or not target[row][column] else 0.0
            logits[column] = scores[row][column] / temperature - correction
        total = sum(math.exp(value) for value in logits.values())
        positives = [column for column in logits if target[row][column]]
        losses.append(-sum(logits[column] - math.log(total) for column in positives) / len(positives))
    return losses


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    scores = torch.tensor(rng.normal(size=(5, 7)), dtype=torch.float64)
    target = torch.zeros(5, 7, dtype=torch.bool)
    target[torch.arange(5), torch.tensor([0, 3, 3, 6, 1])] = True
    target[4, 5] = True  # two positives in one row
    valid = torch.tensor(rng.random((5, 7)) < 0.7)
    log_q = torch.tensor(np.log(rng.random(7)), dtype=torch.float64)
    return scores, target, valid, log_q


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("correct_positive", [False, True])
def test_softmax_equals_a_loop(case, temperature, correct_positive):
    scores, target, valid, log_q = case
    loss = Softmax(temperature, correct_positive)(scores, target, valid, log_q)
    arrays = (tensor.numpy() for tensor in (scores, target, valid, log_q))
    expected = naive_softmax(*arrays, temperature, correct_positive)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


def test_softmax_of_equal_scores_is_the_log_of_the_number_of_candidates():
    target = torch.tensor([[True, False, False, False]])
    valid = torch.tensor([[True, True, True, False]])
    loss = Softmax()(torch.zeros(1, 4), target, valid, torch.zeros(4))
    assert loss.item() == pytest.approx(math.log(3))


def test_an_invalid_column_moves_neither_loss_nor_gradient(case):
    scores, target, valid, log_q = case
    first = scores.clone().requires_grad_()
    second = torch.where(valid | target, scores, scores + 100.0).requires_grad_()
    losses = [Softmax()(part, target, valid, log_q) for part in (first, second)]
    for loss in losses:
        loss.sum().backward()
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(first.grad, second.grad)
    assert first.grad[~(valid | target)].abs().max() == 0


def test_softmax_does_not_depend_on_the_order_of_columns(case):
    scores, target, valid, log_q = case
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    shuffled = Softmax()(scores[:, order], target[:, order], valid[:, order], log_q[order])
    torch.testing.assert_close(shuffled, Softmax()(scores, target, valid, log_q))


def test_a_row_with_only_its_positive_costs_nothing():
    target = torch.tensor([[False, True]])
    loss = Softmax()(torch.tensor([[5.0, -3.0]]), target, target, torch.zeros(2))
    assert loss.item() == 0.0


def test_log_q_makes_the_sampled_partition_function_unbiased():
    """E[sum over sampled n of exp(s_n) / q_n] is the full sum: the correction is exact for the partition function."""
    rng = np.random.default_rng(1)
    scores, inclusion = rng.normal(size=6), np.array([0.9, 0.2, 0.5, 0.3, 0.7, 0.4])
    positive = 2
    kept = (rng.random((20_000, 6)) < inclusion) | (np.arange(6) == positive)
    target = torch.zeros(20_000, 6, dtype=torch.bool)
    target[:, positive] = True
    losses = Softmax()(
        torch.tensor(scores).expand(20_000, 6), target, torch.tensor(kept), torch.tensor(np.log(inclusion))
    )
    assert np.exp(losses.numpy() + scores[positive]).mean() == pytest.approx(np.exp(scores).sum(), rel=0.02)


def test_bpr_equals_a_loop(case):
    scores, target, valid, log_q = case
    scores, target, valid = scores[:4], target[:4], valid[:4]
    loss = BPR()(scores, target, valid, log_q)
    for row in range(4):
        positive = scores[row][target[row]].item()
        terms, weights = [], []
        for column in range(7):
            if valid[row, column] and not target[row, column]:
                weights.append(1 / math.exp(log_q[column]))
                terms.append(weights[-1] * math.log(1 + math.exp(scores[row, column].item() - positive)))
        assert loss[row].item() == pytest.approx(sum(terms) / sum(weights), rel=1e-12)


def test_bpr_without_a_negative_is_zero_and_finite():
    target = torch.tensor([[True, False]])
    scores = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = BPR()(scores, target, target, torch.zeros(2))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("loss", [Softmax(), BPR()])
def test_raising_the_positive_lowers_the_loss(case, loss):
    scores, target, _, _ = case
    scores, target = scores[:4], target[:4]
    everything = torch.ones_like(target)
    before = loss(scores, target, everything, torch.zeros(7))
    after = loss(scores + target * 0.5, target, everything, torch.zeros(7))
    assert (after < before).all()
