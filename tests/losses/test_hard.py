"""Hard negatives in the loss: the choice of columns, and the expectation of dynamic negative sampling."""

import math

import numpy as np
import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.losses.bpr import BPR, Softplus, hardest_of
from avrec.losses.hardest import keep_hardest
from avrec.losses.softmax import Softmax


@pytest.mark.parametrize("num_hard", [1, 2, 3, 50])
def test_the_hardest_of_the_pool_are_kept_by_a_loop(num_hard):
    rng = np.random.default_rng(num_hard)
    scores, valid = rng.normal(size=(6, 11)), rng.random((6, 11)) < 0.7
    mined = rng.random(11) < 0.6
    log_q, log_q_hard = np.log(rng.random(11)), np.log(rng.random(11))
    valid[0] = False
    kept, corrected = (
        found.numpy()
        for found in keep_hardest(
            *map(torch.tensor, (scores, valid, mined)), num_hard, torch.tensor(log_q), torch.tensor(log_q_hard)
        )
    )
    for row in range(6):
        pool = sorted((scores[row, n] for n in range(11) if valid[row, n] and mined[n]), reverse=True)
        border = pool[num_hard - 1] if len(pool) >= num_hard else -math.inf
        for column in range(11):
            hard = scores[row, column] >= border
            assert kept[row, column] == (valid[row, column] and (hard or not mined[column]))
            assert corrected[row, column] == (log_q_hard if hard else log_q)[column]
        assert (kept[row] & mined).sum() == min(num_hard, len(pool))


def test_without_a_pool_every_column_is_as_it_was():
    scores, valid = torch.randn(3, 4), torch.tensor([[True, False, True, True]] * 3)
    log_q = torch.randn(4)
    kept, corrected = keep_hardest(scores, valid, torch.zeros(4, dtype=torch.bool), 5, log_q, log_q - 1)
    assert torch.equal(kept, valid) and torch.equal(corrected, log_q.expand(3, 4))


def test_what_is_known_or_not_yet_out_is_never_hard_and_the_choice_has_no_gradient():
    scores = torch.tensor([[9.0, 8.0, 7.0, 1.0]], requires_grad=True)
    valid = torch.tensor([[False, True, True, True]])
    mined = torch.tensor([True, True, True, False])
    kept, corrected = keep_hardest(scores, valid, mined, 1, torch.zeros(4), torch.ones(4))
    assert kept.tolist() == [[False, True, False, True]]
    assert not corrected.requires_grad


@pytest.mark.parametrize("pool_share", [0.25, 0.6])
def test_a_softmax_over_strata_estimates_the_full_sum(pool_share):
    """Items above a border take part whenever they are drawn, the others when they are drawn for all: both corrected."""
    rng = np.random.default_rng(0)
    scores, for_all = np.sort(rng.normal(size=14) * 2)[::-1].copy(), 0.3
    positive, hard = 13, scores >= scores[4]
    union = 1 - (1 - for_all) * (1 - pool_share)
    drawn, pool = (rng.random((20_000, 14)) < share for share in (for_all, pool_share))
    is_target = np.arange(14) == positive
    takes_part = torch.tensor(drawn | (pool & hard) | is_target)
    log_q = torch.tensor(np.log(np.where(hard, union, for_all)))
    target = torch.tensor(is_target).expand(20_000, 14)
    losses = Softmax()(torch.tensor(scores).expand(20_000, 14), target, takes_part, log_q).numpy()
    assert np.exp(losses + scores[positive]).mean() == pytest.approx(np.exp(scores).sum(), rel=0.02)


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_the_weights_are_the_chance_to_be_the_hardest_of_so_many_draws(draws):
    """By the definition: draw, look which has the highest score, count."""
    rng = np.random.default_rng(draws)
    scores, weight = rng.normal(size=6), np.array([1.0, 0.0, 3.0, 0.5, 2.0, 1.5])
    drawn = rng.choice(6, (200_000, draws), p=weight / weight.sum())
    hardest = drawn[np.arange(len(drawn)), scores[drawn].argmax(axis=1)]
    expected = np.bincount(hardest, minlength=6) / len(drawn)
    found = hardest_of(torch.tensor(scores[None]), torch.tensor(weight[None]), draws)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=0.005)
    assert found.sum() == pytest.approx(1)


def test_bpr_of_several_draws_is_the_mean_over_drawing_them():
    """Naive dynamic negative sampling (Zhang et al. 2013): the loss of the hardest of m uniform draws, averaged."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=8)
    losses = []
    for _ in range(30_000):
        hardest = max(scores[rng.integers(1, 8, 4)])
        losses.append(math.log(1 + math.exp(hardest - scores[0])))
    target = torch.arange(8)[None] == 0
    found = BPR(draws=4)(torch.tensor(scores[None]), target, torch.ones_like(target), torch.zeros(8))
    assert found.item() == pytest.approx(np.mean(losses), rel=0.01)


def test_one_draw_is_plain_bpr_and_many_are_the_hardest_negative_alone():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 9, generator=generator, dtype=torch.float64)
    target = torch.arange(9).expand(5, 9) == torch.tensor([0, 3, 8, 1, 1])[:, None]
    valid = torch.rand(5, 9, generator=generator) < 0.8
    log_q = torch.rand(9, generator=generator, dtype=torch.float64).log()
    weight = (valid & ~target) * (-log_q).exp()
    torch.testing.assert_close(
        hardest_of(scores, weight, 1.0), weight / weight.sum(dim=1, keepdim=True), atol=1e-12, rtol=1e-9
    )
    top = scores.masked_fill(~valid | target, -math.inf).amax(dim=1)
    expected = torch.nn.functional.softplus(top - scores[target])
    torch.testing.assert_close(BPR(draws=1e6)(scores, target, valid, log_q), expected)


def test_bpr_of_several_draws_without_a_negative_is_zero_and_finite():
    target = torch.tensor([[True, False]])
    scores = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = BPR(draws=3)(scores, target, target, torch.zeros(2))
    loss.sum().backward()
    assert loss.item() == 0.0 and torch.isfinite(scores.grad).all()


def test_fewer_than_one_draw_are_refused():
    with pytest.raises(ConfigError, match=r"draws is 0.5; expected 1 \(all negatives alike\) or more"):
        BPR(draws=0.5)


def test_softplus_is_that_of_pytorch_with_its_gradient_at_0_and_far_out():
    x = torch.tensor([-80.0, -20.0, -1.0, 0.0, 1e-3, 2.0, 30.0, 90.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Softplus.apply, x[2:6].detach().requires_grad_())
    torch.testing.assert_close(
        Softplus.apply(x), torch.nn.functional.softplus(x, threshold=1000), atol=1e-15, rtol=1e-12
    )
    Softplus.apply(x).sum().backward()
    torch.testing.assert_close(x.grad, x.detach().sigmoid())
