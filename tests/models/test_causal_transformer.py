"""The causal transformer against loops over events and heads, and what must hold of order, age and weight."""

import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.models.causal_transformer import CausalTransformer
from avrec.models.pooling import NormalizedSum

D, LENGTH = 4, 5


def randomised(**options):
    torch.manual_seed(0)
    pooling = CausalTransformer(D, hidden_dim=8, **options).double()
    with torch.no_grad():
        for parameter in pooling.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return pooling


def history(seed=1, ties=True):
    """Three users: a whole history in no order, two of its events of one age; a shorter one; none."""
    torch.manual_seed(seed)
    vectors = torch.randn(3, LENGTH, D).double()
    weights = torch.rand(3, LENGTH).double() + 0.5
    ages = torch.tensor([[3.0, 0.5, 40.0, 0.5 if ties else 0.7, 7.0], [1.0, 2.0, 9.0, 0.0, 0.0], [0.0] * 5]).double()
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [False] * 5])
    return vectors, weights, ages, mask


def asked(block, asking, hidden, seen, weights):
    """One block's answer to one row, head by head."""
    query = block.query(block.norm(asking))
    keys, values = zip(*(block.key_value(block.norm(row)).chunk(2) for row in hidden), strict=True)
    size, parts = len(query) // block.num_heads, []
    for head in range(block.num_heads):
        span = slice(head * size, (head + 1) * size)
        logits = torch.stack([query[span] @ keys[other][span] / size**0.5 + weights[other].log() for other in seen])
        parts.append(sum(share * values[other][span] for share, other in zip(logits.softmax(dim=0), seen, strict=True)))
    row = asking + block.mix(torch.cat(parts))
    return row + block.network(row)


def naive(pooling, vectors, weights, ages, exponent):
    """One user's events, none of them padding, by loops."""
    count = len(vectors)
    later = [sum(float(other) < float(age) for other in ages) for age in ages]
    hidden = []
    for place in range(count):
        row = pooling.before(vectors[place]) + pooling.age(torch.log1p(ages[place]).reshape(1))
        hidden.append(row + pooling.position.weight[min(later[place], len(pooling.position.weight) - 1)])
    latest = [place for place in range(count) if later[place] == 0]
    for block in pooling.blocks[:-1]:
        seen = [[other for other in range(count) if later[other] >= later[place]] for place in range(count)]
        hidden = [asked(block, hidden[place], hidden, seen[place], weights) for place in range(count)]
    query = torch.stack([hidden[place] for place in latest]).mean(dim=0)
    last = asked(pooling.blocks[-1], query, hidden, range(count), weights)
    total = weights.sum()
    said = pooling.output(pooling.after(last)) * total ** (1 - exponent)
    return (weights[:, None] * vectors).sum(dim=0) / total**exponent + said


@pytest.mark.parametrize("num_blocks", [1, 2])
@pytest.mark.parametrize("exponent", [0.5, 0.0, 1.0])
def test_it_equals_loops_over_events_and_heads(num_blocks, exponent):
    pooling = randomised(num_blocks=num_blocks, exponent=exponent, max_positions=3)
    vectors, weights, ages, mask = history()
    found = pooling(vectors, weights, ages, mask)
    for user in (0, 1):
        count = int(mask[user].sum())
        expected = naive(pooling, vectors[user, :count], weights[user, :count], ages[user, :count], exponent)
        torch.testing.assert_close(found[user], expected)
    assert found[2].abs().max() == 0


def test_the_order_of_columns_does_not_matter_but_the_order_in_time_does():
    pooling = randomised(num_blocks=2)
    vectors, weights, ages, mask = history()
    found = pooling(vectors, weights, ages, mask)[:1]
    shuffled = torch.tensor([4, 2, 0, 1, 3])
    columns = [values[:1, shuffled] for values in (vectors, weights, ages, mask)]
    torch.testing.assert_close(pooling(*columns), found)
    assert not torch.allclose(pooling(vectors, weights, ages.flip(1), mask)[:1], found, atol=1e-3)


def test_age_counts_beside_the_order():
    pooling = randomised()
    vectors, weights, ages, mask = history()
    assert not torch.allclose(
        pooling(vectors, weights, 3 * ages, mask), pooling(vectors, weights, ages, mask), atol=1e-3
    )


def test_an_event_without_weight_is_no_event():
    pooling = randomised()
    vectors, weights, ages, mask = history()
    weights[0, 1] = 0.0  # one of the two latest
    without = mask.clone()
    without[0, 1] = False
    torch.testing.assert_close(pooling(vectors, weights, ages, mask), pooling(vectors, weights, ages, without))


def test_untrained_it_is_the_normalised_sum_and_both_parts_can_learn():
    pooling = CausalTransformer(D)
    vectors, weights, ages, mask = (values.float() if values.is_floating_point() else values for values in history())
    torch.testing.assert_close(
        pooling(vectors, weights, ages, mask), NormalizedSum()(vectors, weights, ages, mask), rtol=0, atol=0
    )
    pooling(vectors, weights, ages, mask).sum().backward()
    assert pooling.output.weight.grad.abs().max() > 0


def test_it_learns_that_the_latest_event_decides():
    """Whatever came before, the next item is the latest one's successor; a sum cannot tell which was the latest."""
    torch.manual_seed(0)
    table, pooling = torch.eye(8) * 2, CausalTransformer(8, hidden_dim=16)
    optimiser = torch.optim.Adam(pooling.parameters(), 0.01)
    for _ in range(151):
        items, ages = torch.randint(8, (64, 6)), torch.rand(64, 6) * 20
        wanted = (items.gather(1, ages.argmin(dim=1, keepdim=True)).squeeze(1) + 1) % 8
        ones = torch.ones(64, 6)
        scores = pooling(table[items], ones, ages, ones.bool()) @ table
        loss = torch.nn.functional.cross_entropy(scores, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (scores.argmax(dim=1) == wanted).float().mean() > 0.9
    summed = NormalizedSum()(table[items], ones, ages, ones.bool()) @ table
    assert (summed.argmax(dim=1) == wanted).float().mean() < 0.3


def test_heads_must_divide_the_width_and_there_must_be_a_block():
    with pytest.raises(ConfigError, match=r"hidden_dim=10 is not divisible by num_heads=4\. Choose a divisor"):
        CausalTransformer(4, hidden_dim=10, num_heads=4)
    with pytest.raises(ConfigError, match=r"num_blocks=0; expected 1 or more"):
        CausalTransformer(4, num_blocks=0)
