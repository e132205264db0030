"""The averaging to K steps against a loop, and the head that tells their order."""

import pytest
import torch

from avrec.models.encoders.head import OrderHead
from avrec.models.encoders.steps import step_weights, to_steps


def naive_steps(tokens_CTH, valid_C, num_steps, resolution=3360):
    """Cut every token into slices of 1 / resolution, keep the valid ones, and average K equal groups of them."""
    num_tokens = tokens_CTH.shape[1]
    slices = []
    for clip, valid in zip(tokens_CTH, valid_C.tolist(), strict=True):
        keep = round(valid * num_tokens * resolution)
        slices.append(clip.repeat_interleave(resolution, dim=0)[:keep])
    line = torch.cat(slices)
    assert len(line) % num_steps == 0
    return line.reshape(num_steps, -1, line.shape[1]).mean(dim=1)


@pytest.mark.parametrize("num_steps", [1, 3, 4, 7, 8])
@pytest.mark.parametrize("num_tokens", [1, 5, 12])
def test_steps_equal_a_loop_over_slices_of_time(num_steps, num_tokens):
    tokens = torch.randn(6, 2, num_tokens, 3, dtype=torch.float64)
    valid = torch.tensor(
        [[1.0, 1.0], [0.5, 1.0], [1.0, 0.25], [0.2, 0.1], [0.0, 0.75], [0.3, 0.0]], dtype=torch.float64
    )
    steps = to_steps(tokens, valid, num_steps)
    assert steps.shape == (6, num_steps, 3)
    for item in range(6):
        torch.testing.assert_close(steps[item], naive_steps(tokens[item], valid[item], num_steps), atol=1e-9, rtol=1e-9)


def test_steps_by_hand():
    tokens = torch.tensor([[[[1.0], [2.0], [4.0], [99.0]], [[8.0], [16.0], [99.0], [99.0]]]])
    valid = torch.tensor([[0.75, 0.5]])  # the line is 1 2 4 8 16
    torch.testing.assert_close(to_steps(tokens, valid, 5).flatten(), torch.tensor([1.0, 2, 4, 8, 16]))
    torch.testing.assert_close(to_steps(tokens, valid, 1).flatten(), torch.tensor([31 / 5]))
    torch.testing.assert_close(to_steps(tokens, valid, 2).flatten(), torch.tensor([5 / 2.5, 26 / 2.5]))


def test_weights_of_time_sum_to_one_or_to_nothing():
    weight = step_weights(torch.tensor([[0.3, 0.0, 1.0], [0.0, 0.0, 0.0]]), 7, 5)
    torch.testing.assert_close(weight.sum(dim=2), torch.tensor([[1.0] * 5, [0.0] * 5]))
    assert weight.min() == 0 and weight[0, :, 3:14].abs().max() == 0  # beyond 2.1 tokens of clip 0, and all of clip 1


def test_more_steps_than_tokens_repeat_them():
    tokens = torch.tensor([[[[1.0], [5.0]]]])
    torch.testing.assert_close(to_steps(tokens, torch.ones(1, 1), 4).flatten(), torch.tensor([1.0, 1, 5, 5]))


def test_half_precision_values_have_exact_weights():
    tokens = torch.randn(2, 1, 300, 4)
    full = to_steps(tokens, torch.ones(2, 1), 8)
    torch.testing.assert_close(to_steps(tokens.double(), torch.ones(2, 1), 8).float(), full)


@pytest.mark.parametrize(("hidden_dim", "dim"), [(384, 64), (1280, 64), (32, 64)])
def test_an_untrained_head_keeps_scale_and_neighbours(hidden_dim, dim):
    torch.manual_seed(0)
    head = OrderHead(hidden_dim, dim, 8)
    items = torch.randn(40, 1, hidden_dim)
    steps = items + 0.5 * torch.randn(40, 8, hidden_dim)
    tokens = head(steps)
    assert tokens.shape == (40, 8, dim)
    assert 0.7 < tokens.norm(dim=2).mean() < 1.5
    torch.testing.assert_close(head(steps * 7.0), tokens)  # unit steps
    half, other = tokens[:, :4].mean(dim=1), tokens[:, 4:].mean(dim=1)
    nearest = torch.nn.functional.cosine_similarity(half[:, None], other[None], dim=2).argmax(dim=1)
    assert (nearest == torch.arange(40)).float().mean() > 0.9


def test_a_head_equals_a_loop_over_steps_and_channels():
    torch.manual_seed(0)
    head = OrderHead(10, 6, 4).eval()
    torch.nn.init.normal_(head.position_KD)
    steps = torch.randn(3, 4, 10)
    tokens = head(steps)
    for item in range(3):
        hidden = torch.stack([head.project(row / row.norm()) for row in steps[item]]) + head.position_KD
        seen = torch.stack([head.norm(row) for row in hidden])
        mixed = torch.zeros(4, 6)
        for out_step in range(4):
            for channel in range(6):
                mixed[out_step, channel] = sum(
                    seen[step, channel] * head.mix_DKK[channel, step, out_step] for step in range(4)
                )
        expected = hidden + head.output(torch.nn.functional.gelu(mixed))
        torch.testing.assert_close(tokens[item], expected, atol=1e-6, rtol=1e-5)


def test_a_head_learns_a_class_that_is_only_order():
    """Rising against falling, with the same steps otherwise: chance for anything that averages."""
    torch.manual_seed(0)
    direction = torch.randn(20)
    ramp = torch.linspace(-1, 1, 8)

    def draw(num_items):
        label = torch.arange(num_items) % 2
        slope = (label * 2.0 - 1)[:, None, None] * ramp[None, :, None] * direction
        return slope + torch.randn(num_items, 8, 20), label

    head, classify = OrderHead(20, 8, 8), torch.nn.Linear(8, 2)
    optimiser = torch.optim.Adam([*head.parameters(), *classify.parameters()], lr=3e-3)
    steps, label = draw(128)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(classify(head(steps).mean(dim=1)), label).backward()
        optimiser.step()
    unseen, truth = draw(200)
    assert (classify(head.eval()(unseen).mean(dim=1)).argmax(dim=1) == truth).float().mean() > 0.9


def test_dropout_works_while_training_only():
    head = OrderHead(10, 6, 4, dropout=0.5)
    steps = torch.randn(3, 4, 10)
    assert not torch.equal(head(steps), head(steps))
    head.eval()
    assert torch.equal(head(steps), head(steps))
