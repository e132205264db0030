"""InfoNCE both ways against loops, closed forms, and what must not move it."""

import math

import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.losses.info_nce import InfoNCE
from avrec.losses.softmax import Softmax


@pytest.fixture
def case():
    """5 pairs over 4 items and a bystander: two pairs share an item, a user has another's positive in his history."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    target = torch.zeros(5, 5, dtype=torch.bool)
    target[torch.arange(5), torch.tensor([0, 1, 1, 2, 3])] = True
    valid = torch.ones(5, 5, dtype=torch.bool)
    valid[4, 0] = valid[0, 3] = False
    log_q = torch.rand(5, generator=generator, dtype=torch.float64).log()
    return scores, target, valid, log_q


def naive_by_user(scores, target, valid, temperature):
    losses = []
    for row in range(len(scores)):
        item = target[row].nonzero().item()
        own = math.exp(scores[row, item] / temperature)
        rivals = [
            other for other in range(len(scores)) if other != row and valid[other, item] and not target[other, item]
        ]
        total = own + sum(math.exp(scores[other, item] / temperature) for other in rivals)
        losses.append(math.log(total / own))
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
@pytest.mark.parametrize("user_weight", [0.0, 0.3, 1.0])
def test_it_equals_loops_in_both_directions(case, temperature, user_weight):
    scores, target, valid, log_q = case
    by_item = Softmax(temperature)(scores, target, valid, log_q)
    expected = (1 - user_weight) * by_item + user_weight * naive_by_user(scores, target, valid, temperature)
    torch.testing.assert_close(InfoNCE(temperature, user_weight)(scores, target, valid, log_q), expected)


def test_on_a_square_of_distinct_pairs_it_is_symmetric_in_users_and_items(case):
    scores = case[0]
    target, valid, log_q = torch.eye(5, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool), torch.zeros(5)
    found = InfoNCE(0.5)(scores, target, valid, log_q)
    torch.testing.assert_close(InfoNCE(0.5)(scores.T, target, valid, log_q), found)
    both = torch.nn.functional.cross_entropy
    clip = (both(2 * scores, torch.arange(5)) + both(2 * scores.T, torch.arange(5))) / 2  # Radford et al., figure 3
    torch.testing.assert_close(found.mean(), clip)


def test_another_pair_with_the_item_and_a_user_who_knows_it_are_no_rivals(case):
    scores, target, valid, log_q = case
    loss = InfoNCE(user_weight=1.0)
    before = loss(scores, target, valid, log_q)
    moved = scores.clone()
    moved[2, 1] += 50.0  # pair 2 has pair 1's item as its positive
    moved[4, 0] += 50.0  # user of pair 4 has pair 0's item in his history
    after = loss(moved, target, valid, log_q)
    assert torch.equal(after[[0, 1, 3, 4]], before[[0, 1, 3, 4]]) and after[2] != before[2]


def test_one_pair_alone_costs_nothing_by_user():
    loss = InfoNCE(user_weight=1.0)(
        torch.randn(1, 3), torch.tensor([[True, False, False]]), torch.ones(1, 3) > 0, torch.zeros(3)
    )
    assert loss.item() == 0.0


def test_the_temperature_is_learned_towards_confidence_where_the_scores_are_right_and_held_at_its_limit():
    loss = InfoNCE(1.0, learn_temperature=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.5)
    eye = torch.eye(6, dtype=torch.bool)
    for _ in range(60):
        optimizer.zero_grad()
        loss(eye.float(), eye, torch.ones_like(eye), torch.zeros(6)).sum().backward()
        optimizer.step()
    assert loss.log_scale.exp() > 5
    with torch.no_grad():
        loss.log_scale.fill_(50.0)
    torch.testing.assert_close(
        loss(0.1 * eye, eye, torch.ones_like(eye), torch.zeros(6)),
        InfoNCE(0.01)(0.1 * eye, eye, torch.ones_like(eye), torch.zeros(6)),
    )
    assert not list(parameter for parameter in InfoNCE(0.5).parameters() if parameter.requires_grad)


@pytest.mark.parametrize(("temperature", "user_weight"), [(0.0, 0.5), (0.001, 0.5), (1.0, 1.5), (1.0, -0.1)])
def test_settings_out_of_range_are_refused(temperature, user_weight):
    with pytest.raises(ConfigError, match=r"expected a temperature of at least 0.01 and a weight from 0 to 1"):
        InfoNCE(temperature, user_weight)
