"""Row-wise optimisers against loops over rows, and against the dense optimisers that they stand for."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from avrec.training.row_adagrad import RowAdagrad
from avrec.training.row_adam import RowAdam, distinct_rows

RATE, DECAY, STEPS, ROWS, DIM = 0.05, 0.1, 6, 9, 3


def gradients(width=DIM, sorted_rows=False):
    """Sparse gradients of some steps, with rows named twice unless they are to be sorted."""
    rng = np.random.default_rng(0)
    found = []
    for step in range(STEPS):
        rows = rng.choice(ROWS - 2, 4, replace=not sorted_rows)
        rows = np.sort(rows) if sorted_rows else rows
        shape = (4, width) if width else (4,)
        size = (ROWS, width) if width else (ROWS,)
        values = torch.tensor(rng.normal(size=shape) * (step + 1))
        found.append(torch.sparse_coo_tensor(torch.tensor(rows)[None], values, size))
    return found


def table(width=DIM):
    shape = (ROWS, width) if width else (ROWS,)
    return torch.nn.Parameter(torch.tensor(np.random.default_rng(1).normal(size=shape)))


def run(optimizer, parameter, steps):
    for gradient in steps:
        parameter.grad = gradient
        optimizer.step()
    return parameter.detach()


def naive_adam(weight, steps, decay, decoupled):
    """Kingma and Ba (2015), algorithm 1, for each touched row by itself."""
    weight = weight.clone()
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for count, sparse in enumerate(steps, 1):
        dense = sparse.to_dense()
        for row in set(sparse._indices()[0].tolist()):
            gradient = dense[row]
            if decoupled:
                weight[row] = weight[row] * (1 - RATE * decay)
            else:
                gradient = gradient + decay * weight[row]
            first[row] = 0.9 * first[row] + 0.1 * gradient
            second[row] = 0.999 * second[row] + 0.001 * gradient**2
            corrected = first[row] / (1 - 0.9**count)
            weight[row] = weight[row] - RATE * corrected / (torch.sqrt(second[row] / (1 - 0.999**count)) + 1e-8)
    return weight


@pytest.mark.parametrize("sorted_rows", [False, True], ids=["repeated", "distinct"])
@pytest.mark.parametrize("width", [DIM, 0], ids=["vectors", "biases"])
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (DECAY, False), (DECAY, True)])
def test_touched_rows_follow_adam_by_a_loop_and_the_others_stay_to_the_bit(width, decay, decoupled, sorted_rows):
    parameter, steps = table(width), gradients(width, sorted_rows)
    before = parameter.detach().clone()
    optimizer = RowAdam([parameter], RATE, weight_decay=decay, decoupled_weight_decay=decoupled)
    found = run(optimizer, parameter, steps)
    torch.testing.assert_close(found, naive_adam(before, steps, decay, decoupled), rtol=1e-9, atol=1e-12)
    assert torch.equal(found[ROWS - 2 :], before[ROWS - 2 :])
    assert not optimizer.state[parameter]["exp_avg"][ROWS - 2 :].any()


@pytest.mark.parametrize("decoupled", [False, True])
def test_dense_gradients_are_adams_to_the_bit(decoupled):
    one, other = table(), table()
    steps = [gradient.to_dense() for gradient in gradients()]
    dense = torch.optim.Adam([other], RATE, weight_decay=DECAY, decoupled_weight_decay=decoupled)
    row_wise = RowAdam([one], RATE, weight_decay=DECAY, decoupled_weight_decay=decoupled)
    assert torch.equal(run(row_wise, one, steps), run(dense, other, steps))


def test_where_every_row_is_touched_in_every_step_it_is_dense_adam():
    one, other = table(), table()
    rows = torch.arange(ROWS)[None]
    values = [torch.tensor(np.random.default_rng(step).normal(size=(ROWS, DIM))) for step in range(STEPS)]
    sparse = [torch.sparse_coo_tensor(rows, value, (ROWS, DIM)) for value in values]
    found = run(RowAdam([one], RATE, weight_decay=DECAY), one, sparse)
    torch.testing.assert_close(found, run(torch.optim.Adam([other], RATE, weight_decay=DECAY), other, values))


@pytest.mark.parametrize("kind", [RowAdam, partial(RowAdagrad, row_rate=3.0)], ids=["adam", "adagrad"])
def test_a_restored_state_goes_on_to_the_bit(kind):
    steps = gradients()
    whole = table()
    expected = run(kind([whole], RATE, weight_decay=DECAY), whole, steps)
    first = table()
    before = kind([first], RATE, weight_decay=DECAY)
    run(before, first, steps[:3])
    second = torch.nn.Parameter(first.detach().clone())
    after = kind([second], RATE, weight_decay=DECAY)
    after.load_state_dict(before.state_dict())
    assert torch.equal(run(after, second, steps[3:]), expected)


def test_a_step_evaluates_a_closure_follows_a_schedule_and_leaves_gradients_where_they_were():
    parameter, dense = table(), torch.nn.Parameter(torch.ones(2))
    optimizer = RowAdam([parameter, dense], RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    before = parameter.detach().clone()

    def closure():
        parameter.grad, dense.grad = gradients()[0], torch.ones(2)
        return dense.detach().sum()

    assert float(optimizer.step(closure)) == 2.0
    assert parameter.grad.is_sparse and not torch.equal(parameter, before) and (dense < 1).all()
    schedule.step()
    after = parameter.detach().clone()
    optimizer.step(closure)
    assert torch.equal(parameter, after)


def test_adagrad_by_a_loop_with_one_number_of_state_a_row():
    parameter, steps = table(), gradients()
    weight = parameter.detach().clone()
    total = [0.0] * ROWS
    for sparse in steps:
        dense = sparse.to_dense()
        for row in set(sparse._indices()[0].tolist()):
            gradient = dense[row] + DECAY * weight[row]
            total[row] += float((gradient**2).mean())
            weight[row] = weight[row] - 4 * RATE * gradient / (math.sqrt(total[row]) + 1e-8)
    optimizer = RowAdagrad([parameter], RATE, weight_decay=DECAY, row_rate=4.0)
    torch.testing.assert_close(run(optimizer, parameter, steps), weight, rtol=1e-9, atol=1e-12)
    assert sorted(tuple(value.shape) for value in optimizer.state[parameter].values()) == [(), (ROWS,)]


def test_adagrad_of_biases_by_a_loop():
    parameter, steps = table(0), gradients(0)
    weight, total = parameter.detach().clone(), [0.0] * ROWS
    for sparse in steps:
        dense = sparse.to_dense()
        for row in set(sparse._indices()[0].tolist()):
            total[row] += float(dense[row] ** 2)
            weight[row] = weight[row] - RATE * dense[row] / (math.sqrt(total[row]) + 1e-8)
    torch.testing.assert_close(run(RowAdagrad([parameter], RATE, row_rate=1.0), parameter, steps), weight)


def test_distinct_rows_adds_up_what_belongs_to_one_row():
    sparse = torch.sparse_coo_tensor(torch.tensor([[3, 1, 3]]), torch.tensor([[1.0], [2.0], [4.0]]), (5, 1))
    rows, values = distinct_rows(sparse)
    assert rows.tolist() == [1, 3] and values.tolist() == [[2.0], [5.0]]
    empty = torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(0, 1), (5, 1))
    assert distinct_rows(empty)[0].tolist() == []
