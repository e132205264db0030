"""Each fusion against its formula, worked out by loops or by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from avrec.models.fusion.attention import AttentionFusion
from avrec.models.fusion.base import energy_share
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.fusion.cross_attention import CrossAttentionFusion
from avrec.models.fusion.gated import GatedFusion
from avrec.models.fusion.latent import LatentFusion
from avrec.models.fusion.layers import FeedForward, attend
from avrec.models.fusion.weighted_sum import WeightedSum

DIM, HEADS = 8, 2
WIDTHS = {"audio": DIM, "video": DIM}
MASKS = {"audio": torch.tensor([True, True, False, False]), "video": torch.tensor([True, False, True, False])}


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(4, 3, DIM, generator=generator) for name in WIDTHS}


def trained(fusion):
    torch.manual_seed(1)
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.5)
    return fusion.eval()


def naive_attention(query, keys, values):
    """Mixed value and attention averaged over heads, of one query (D,) over rows (S, D)."""
    width = DIM // HEADS
    mixed, mass = [], torch.zeros(len(keys))
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        attention = torch.stack([key[part] @ query[part] / width**0.5 for key in keys]).softmax(dim=0)
        mixed.append(sum(weight * value[part] for weight, value in zip(attention, values, strict=True)))
        mass += attention / HEADS
    return torch.cat(mixed), mass


def present_rows(fusion, tokens, item):
    """Tokens of what an item has, each with the place of its modality; the absent vector where it has nothing."""
    rows = [
        (place, row + fusion.modality_MD[place])
        for place, name in enumerate(WIDTHS)
        if MASKS[name][item]
        for row in tokens[name][item]
    ]
    return rows or [(None, fusion.absent_D)]


def test_latent_queries_equal_a_loop(tokens):
    fusion = trained(LatentFusion(WIDTHS, num_queries=3, num_heads=HEADS))
    vector, share = fusion(tokens, MASKS)
    for item in range(4):
        places, rows = zip(*present_rows(fusion, tokens, item), strict=True)
        keys, values = [fusion.key(row) for row in rows], [fusion.value(row) for row in rows]
        found = [naive_attention(query, keys, values) for query in fusion.query_QD]
        mixed = sum(fusion.feed_forward(mixed) for mixed, _ in found) / 3
        torch.testing.assert_close(vector[item], fusion.output(mixed))
        mass = torch.zeros(2)
        for _, attention in found:
            for place, weight in zip(places, attention, strict=True):
                if place is not None:
                    mass[place] += weight / 3
        torch.testing.assert_close(share[item], mass)


def test_cross_attention_equals_a_loop(tokens):
    fusion = trained(CrossAttentionFusion(WIDTHS, num_heads=HEADS))
    vector, share = fusion(tokens, MASKS)
    for item in range(4):
        places, rows = zip(*present_rows(fusion, tokens, item), strict=True)
        mixed, origin = [], []
        for here, row in enumerate(rows):
            seen = [there for there in range(len(rows)) if there == here or places[there] != places[here]]
            value, attention = naive_attention(
                fusion.cross_query(row),
                [fusion.cross_key(rows[there]) for there in seen],
                [fusion.cross_value(rows[there]) for there in seen],
            )
            mixed.append(fusion.feed_forward(value))
            mass = torch.zeros(2)
            for there, weight in zip(seen, attention, strict=True):
                if places[there] is not None:
                    mass[places[there]] += weight
            origin.append(mass)
        pooled, attention = naive_attention(fusion.pool_query_D, [fusion.pool_key(value) for value in mixed], mixed)
        torch.testing.assert_close(vector[item], fusion.output(pooled))
        expected = sum(weight * mass for weight, mass in zip(attention, origin, strict=True))
        torch.testing.assert_close(share[item], expected)


def test_the_gate_equals_a_loop(tokens):
    fusion = trained(GatedFusion(WIDTHS))
    vector, share = fusion(tokens, MASKS)
    for item in range(4):
        parts = [
            functional.normalize(tokens[name][item].mean(dim=0), dim=0) * MASKS[name][item].float() for name in WIDTHS
        ]
        flags = torch.stack([MASKS[name][item].float() for name in WIDTHS])
        gate = fusion.gate(torch.cat([*parts, flags])).exp() * flags
        if not gate.any():
            assert torch.equal(vector[item], fusion.absent_D) and not share[item].any()
            continue
        gate = gate / gate.sum()
        torch.testing.assert_close(share[item], gate)
        torch.testing.assert_close(vector[item], gate[0] * parts[0] + gate[1] * parts[1])


@pytest.mark.parametrize("learned", [False, True])
def test_a_weighted_sum_by_hand(learned):
    tokens = {
        "audio": torch.tensor([[[6.0, 0.0], [0.0, 8.0]]]).repeat(4, 1, 1),  # mean (3, 4), unit (.6, .8)
        "video": torch.tensor([[[0.0, 5.0]]]).repeat(4, 1, 1),
    }
    fusion = WeightedSum({"audio": 2, "video": 2}, {"video": 0.5}, learned=learned)
    assert len(list(fusion.parameters())) == learned
    vector, share = fusion(tokens, MASKS)
    torch.testing.assert_close(vector, torch.tensor([[0.6, 1.3], [0.6, 0.8], [0.0, 0.5], [0.0, 0.0]]))
    torch.testing.assert_close(share, torch.tensor([[0.8, 0.2], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))


def test_given_and_learned_weights_both_travel_with_the_model():
    for learned in (False, True):
        stored = WeightedSum(WIDTHS, {"audio": 3.0}, learned=learned).state_dict()
        torch.testing.assert_close(stored["weight_M"], torch.tensor([3.0, 1.0]))


def test_concatenation_lays_mean_tokens_end_to_end():
    tokens = {"audio": torch.tensor([[[6.0, 0.0], [0.0, 8.0]]]), "video": torch.tensor([[[5.0], [7.0]]])}
    everywhere = dict.fromkeys(tokens, torch.tensor([True]))
    vector, share = ConcatenationFusion({"audio": 2, "video": 1}, {"audio": 2.0})(tokens, everywhere)
    torch.testing.assert_close(vector, torch.tensor([[6.0, 8.0, 6.0]]))
    torch.testing.assert_close(share, torch.tensor([[100 / 136, 36 / 136]]))


def test_energy_of_nothing_is_shared_equally_and_tiny_energy_still_sums_to_one():
    mask = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    parts = [torch.zeros(4, 3), torch.zeros(4, 3)]
    parts[0][3], parts[1][3] = 1e-10, 2e-10
    wanted = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 0.0], [0.2, 0.8]])
    torch.testing.assert_close(energy_share(parts, mask), wanted)


@pytest.mark.parametrize(
    "fusion",
    [
        AttentionFusion(WIDTHS, num_heads=HEADS),
        LatentFusion(WIDTHS, num_heads=HEADS),
        CrossAttentionFusion(WIDTHS, num_heads=HEADS),
        GatedFusion(WIDTHS),
        WeightedSum(WIDTHS),
    ],
    ids=lambda fusion: type(fusion).__name__,
)
def test_an_untrained_fusion_keeps_what_equal_tokens_say(fusion):
    """Where all tokens of an item are one unit vector, that vector (up to its length) comes out: training starts from it."""
    unit = functional.normalize(torch.randn(4, 1, DIM, generator=torch.Generator().manual_seed(0)), dim=2)
    everywhere = dict.fromkeys(WIDTHS, torch.ones(4, dtype=torch.bool))
    vector, share = fusion.eval()(dict.fromkeys(WIDTHS, unit.expand(4, 3, DIM)), everywhere)
    torch.testing.assert_close(functional.normalize(vector, dim=1), unit[:, 0])
    torch.testing.assert_close(share, torch.full((4, 2), 0.5))


def test_attend_takes_a_mask_for_each_query():
    torch.manual_seed(0)
    query, rows = torch.randn(2, 3, DIM), torch.randn(2, 3, DIM)
    mixed, attention = attend(query, rows, rows, torch.eye(3, dtype=torch.bool).unsqueeze(0), HEADS)
    torch.testing.assert_close(mixed, rows)
    torch.testing.assert_close(attention, torch.eye(3).expand(2, 3, 3))


def test_the_feed_forward_layer_starts_as_the_identity():
    value = torch.randn(5, DIM)
    assert torch.equal(FeedForward(DIM)(value), value)
