"""Audio-video alignment against a loop, closed forms, and what must not move it."""

import math

import pytest
import torch

from avrec.losses.contrastive import Contrastive


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    audio, video = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return audio, video, torch.tensor([True, True, False, True, True, False, True])


def naive(audio, video, both, temperature):
    rows = [row for row in range(len(both)) if both[row]]

    def cosine(first, second):
        dot = sum(a * b for a, b in zip(first, second, strict=True))
        return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))

    losses = [0.0] * len(both)
    for row in rows:
        own = cosine(audio[row], video[row]) / temperature
        by_sound = sum(math.exp(cosine(audio[row], video[other]) / temperature) for other in rows)
        by_picture = sum(math.exp(cosine(audio[other], video[row]) / temperature) for other in rows)
        losses[row] = (math.log(by_sound) - own + math.log(by_picture) - own) / 2
    return losses


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_equals_a_loop(case, temperature):
    audio, video, both = case
    found = Contrastive(temperature)(audio, video, both)
    expected = naive(audio.tolist(), video.tolist(), both.tolist(), temperature)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_it_treats_sound_and_picture_alike(case):
    audio, video, both = case
    torch.testing.assert_close(Contrastive()(audio, video, both), Contrastive()(video, audio, both))


def test_the_length_of_a_vector_does_not_matter(case):
    audio, video, both = case
    torch.testing.assert_close(Contrastive()(3 * audio, 0.1 * video, both), Contrastive()(audio, video, both))


@pytest.mark.parametrize("value", [50.0, math.nan, math.inf])
def test_what_is_absent_moves_neither_loss_nor_gradient(case, value):
    audio, video, both = case
    found = []
    for filler in (0.0, value):
        parts = [torch.where(both[:, None], part, filler).requires_grad_() for part in (audio, video)]
        loss = Contrastive()(*parts, both)
        loss.sum().backward()
        found.append((loss, *(part.grad for part in parts)))
    for clean, spoiled in zip(*found, strict=True):
        assert torch.equal(clean, spoiled)
        assert clean[~both].abs().max() == 0
    assert found[0][1][both].abs().amax(dim=1).min() > 0


def test_one_item_or_none_cost_nothing():
    parts = torch.randn(3, 4, requires_grad=True)
    for both in (torch.tensor([False, True, False]), torch.zeros(3, dtype=torch.bool)):
        loss = Contrastive()(parts, parts.detach().flip(0), both)
        assert loss.abs().max() == 0
        loss.sum().backward()
        assert torch.isfinite(parts.grad).all()
    assert Contrastive()(parts[:0], parts[:0], torch.zeros(0, dtype=torch.bool)).shape == (0,)


def test_equal_vectors_cost_the_log_of_the_number_of_items():
    ones = torch.ones(4, 3)
    both = torch.tensor([True, True, True, False])
    torch.testing.assert_close(Contrastive()(ones, ones, both), torch.tensor([1.0, 1.0, 1.0, 0.0]) * math.log(3))


def test_matched_axes_cost_less_than_mixed_up_ones_by_closed_form():
    axes, both = torch.eye(3), torch.ones(3, dtype=torch.bool)
    aligned = Contrastive(0.5)(axes, axes, both)
    torch.testing.assert_close(aligned, torch.full((3,), math.log(math.e**2 + 2) - 2))
    torch.testing.assert_close(Contrastive(0.5)(axes, axes.roll(1, 0), both), aligned + 2)


def test_training_on_it_aligns_two_views_of_one_cause():
    torch.manual_seed(0)
    cause = torch.randn(64, 6)
    views = [cause @ torch.randn(6, 10) for _ in range(2)]
    maps = [torch.nn.Linear(10, 4) for _ in range(2)]
    optimizer = torch.optim.Adam([p for part in maps for p in part.parameters()], lr=0.02)
    both = torch.ones(64, dtype=torch.bool)
    for _ in range(150):
        loss = Contrastive()(maps[0](views[0]), maps[1](views[1]), both).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    first, second = (torch.nn.functional.normalize(part(view), dim=1) for part, view in zip(maps, views, strict=True))
    hits = ((first @ second.T).argmax(dim=1) == torch.arange(64)).float().mean()
    assert hits > 0.9
