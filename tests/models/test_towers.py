"""Towers by hand-worked numbers, naive loops, and what must hold for every fusion and pooling."""

from dataclasses import astuple

import numpy as np
import pytest
import torch

from avrec.models.causal_transformer import CausalTransformer
from avrec.models.encoders.feature import FeatureEncoder, Standardise
from avrec.models.fusion.attention import AttentionFusion
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.pooling import AttentionPooling, NormalizedSum, RefinedSum
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.models.user_tower import UserTower

FUSIONS = [
    pytest.param(lambda dims: AttentionFusion(dims, num_heads=2), id="attention"),
    pytest.param(lambda dims: ConcatenationFusion(dims, {"audio": 0.5}), id="concatenation"),
]
POOLINGS = [
    pytest.param(lambda: NormalizedSum(0.5), id="sum"),
    pytest.param(lambda: NormalizedSum(0.0, half_life_days=3.0), id="decayed sum"),
    pytest.param(lambda: AttentionPooling(4), id="attention"),
    pytest.param(lambda: RefinedSum(4), id="refined"),
    pytest.param(lambda: CausalTransformer(4, num_blocks=2), id="transformer"),
]


def tokens(num_items=6, dim=8, num_tokens=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(num_items, num_tokens, dim, generator=generator) for name in ("audio", "visual")}
    masks = {
        "audio": torch.tensor([True, True, False, False, True, True]),
        "visual": torch.tensor([True, False, True, False, True, True]),
    }
    return made, masks


@pytest.mark.parametrize("make", FUSIONS)
@pytest.mark.parametrize("num_tokens", [1, 3])
def test_a_fusion_ignores_what_is_absent_and_never_gives_nan(make, num_tokens):
    values, masks = tokens(num_tokens=num_tokens)
    fusion = make({"audio": 8, "visual": 8}).eval()
    vector, share = fusion(values, masks)
    assert vector.shape == (6, fusion.output_dim) and share.shape == (6, 2)
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(share.sum(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))
    assert share[1, 1] == 0 and share[2, 0] == 0
    spoiled = {
        name: torch.where(masks[name][:, None, None], value, torch.tensor(99.0)) for name, value in values.items()
    }
    torch.testing.assert_close(fusion(spoiled, masks)[0], vector)
    changed = {name: value + 1 for name, value in values.items()}
    assert not torch.allclose(fusion(changed, masks)[0][0], vector[0])


@pytest.mark.parametrize("make", FUSIONS)
def test_a_fusion_treats_each_item_by_itself(make):
    values, masks = tokens()
    fusion = make({"audio": 8, "visual": 8}).eval()
    whole = fusion(values, masks)[0]
    for item in range(6):
        alone = fusion(
            {name: value[item : item + 1] for name, value in values.items()},
            {name: mask[item : item + 1] for name, mask in masks.items()},
        )[0]
        torch.testing.assert_close(alone[0], whole[item])


def test_concatenated_unit_vectors_add_their_weighted_cosines():
    values, _ = tokens()
    everywhere = {name: torch.ones(6, dtype=torch.bool) for name in values}
    unit = {name: torch.nn.functional.normalize(value, dim=2) for name, value in values.items()}
    vector, _ = ConcatenationFusion({"audio": 8, "visual": 8}, {"audio": 0.5})(unit, everywhere)
    expected = 0.25 * unit["audio"][0, 0] @ unit["audio"][1, 0] + unit["visual"][0, 0] @ unit["visual"][1, 0]
    torch.testing.assert_close(vector[0] @ vector[1], expected)


def test_attention_fusion_equals_a_loop_over_heads():
    values, masks = tokens(num_tokens=2)
    torch.manual_seed(1)
    fusion = AttentionFusion({"audio": 8, "visual": 8}, num_heads=2).eval()
    torch.nn.init.normal_(fusion.modality_MD)
    vector, share = fusion(values, masks)
    for item in range(6):
        present = [place for place, name in enumerate(fusion.modalities) if masks[name][item]]
        if not present:
            continue
        rows = torch.cat([values[fusion.modalities[place]][item] + fusion.modality_MD[place] for place in present])
        heads, mass = [], torch.zeros(2)
        for head in range(2):
            part = slice(head * 4, head * 4 + 4)
            logits = fusion.key(rows)[:, part] @ fusion.query_D[part] / 2.0
            attention = logits.softmax(dim=0)
            heads.append(attention @ fusion.value(rows)[:, part])
            for place, row in enumerate(present):
                mass[row] += attention[2 * place : 2 * place + 2].sum() / 2
        torch.testing.assert_close(vector[item], fusion.output(torch.cat(heads)))
        torch.testing.assert_close(share[item], mass)


def test_modality_dropout_hides_but_always_keeps_one():
    fusion = AttentionFusion({"audio": 8, "visual": 8}, num_heads=2, modality_dropout=0.9)
    mask = torch.tensor([[True, True], [True, False], [False, False]]).repeat(500, 1)
    kept = fusion._hide(mask)
    assert not (kept & ~mask).any()
    assert torch.equal(kept.any(dim=1), mask.any(dim=1))
    both = mask.all(dim=1)
    assert 0.7 < 1 - kept[both].all(dim=1).float().mean() < 1.0


def test_attention_needs_equal_widths():
    with pytest.raises(ValueError, match=r"equal widths.*Give every encoder the same dim"):
        AttentionFusion({"audio": 8, "visual": 6})
    with pytest.raises(ValueError, match="not divisible by num_heads=3"):
        AttentionFusion({"audio": 8}, num_heads=3)


@pytest.mark.parametrize("make", POOLINGS)
def test_a_pooling_ignores_padding_and_gives_zero_for_an_empty_history(make):
    pooling = make()
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    vectors, weights, ages = torch.randn(3, 5, 4), torch.rand(3, 5) + 0.5, torch.rand(3, 5) * 10
    mask = torch.tensor([[True, True, False, False, False], [False] * 5, [True] * 5])
    pooled = pooling(vectors, weights, ages, mask)
    assert pooled[1].abs().max() == 0
    spoiled = torch.where(mask[:, :, None], vectors, torch.tensor(7.0))
    torch.testing.assert_close(pooling(spoiled, weights, ages, mask), pooled)
    torch.testing.assert_close(pooling(vectors[:1, :2], weights[:1, :2], ages[:1, :2], mask[:1, :2]), pooled[:1])


@pytest.mark.parametrize("make", [AttentionPooling, RefinedSum, CausalTransformer])
def test_an_untrained_pooling_is_the_normalised_sum(make):
    vectors, weights, ages = torch.randn(3, 5, 4), torch.rand(3, 5) + 0.5, torch.zeros(3, 5)
    mask = torch.rand(3, 5) < 0.7
    torch.testing.assert_close(
        make(4, 0.5)(vectors, weights, ages, mask), NormalizedSum(0.5)(vectors, weights, ages, mask)
    )


@pytest.mark.parametrize("half_life_days", [None, 7.0])
@pytest.mark.parametrize("make", [NormalizedSum, lambda *options: RefinedSum(5, *options)])
def test_rows_of_a_table_are_pooled_as_if_they_had_been_gathered(make, half_life_days):
    torch.manual_seed(0)
    pool = make(0.5, half_life_days).double()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(torch.randn_like(parameter))
    table_RD = torch.randn(9, 5, dtype=torch.float64)
    row_BL = torch.randint(0, 9, (6, 4))  # items that come twice, in one history and in several
    mask_BL = torch.rand(6, 4) > 0.3
    mask_BL[2] = False
    given = torch.rand(6, 4).double() + 0.5, 10 * torch.rand(6, 4).double(), mask_BL
    found = []
    for call in (lambda table: pool(table[row_BL], *given), lambda table: pool.of_rows(table, row_BL, *given)):
        table = table_RD.clone().requires_grad_()
        vector_BD = call(table)
        (vector_BD * torch.arange(30).reshape(6, 5)).sum().backward()
        found.append((vector_BD.detach(), table.grad))
    for gathered, read in zip(*found, strict=True):
        torch.testing.assert_close(gathered, read, rtol=1e-12, atol=1e-12)
    assert not found[1][0][2].any()


def test_normalised_sum_by_hand():
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    ones, mask = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(NormalizedSum(1.0)(vectors, ones, 0 * ones, mask), torch.tensor([[0.5, 1.0]]))
    aged = NormalizedSum(0.0, half_life_days=2.0)(vectors, ones, torch.tensor([[2.0, 4.0]]), mask)
    torch.testing.assert_close(aged, torch.tensor([[0.5, 0.5]]))


def test_standardise_learns_from_float16_without_overflow():
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.normal(300.0, 200.0, (1000, 3))).half()
    values[:, 2] = 5.0
    layer = Standardise(3)
    layer.learn(values)
    result = layer(values.float())
    torch.testing.assert_close(result.mean(dim=0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(result[:, :2].std(dim=0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert result[:, 2].abs().max() == 0


def small_model(fusion=None, tied=True, residual=True):
    torch.manual_seed(0)
    encoders = {"audio": FeatureEncoder(5, 6), "visual": FeatureEncoder(7, 6)}
    fusion = fusion or AttentionFusion({"audio": 6, "visual": 6}, num_heads=2)
    item_tower = ItemTower(encoders, fusion, 4)
    user_tower = UserTower(4, item_tower.content_dim, NormalizedSum(), NormalizedSum())
    model = TwoTower(
        item_tower, user_tower, ItemTable(9, 4, tied=tied, init_std=1.0), UserTable(3, 4, enabled=residual)
    )
    torch.nn.init.normal_(model.item_table.bias_N)
    torch.nn.init.normal_(model.user_table.residual_UD)
    torch.nn.init.normal_(model.neighbour_vector_ND)
    model.item_evidence_N.copy_(torch.tensor([0.0, 1, 2, 3, 4, 5, 0, 7, 8]))
    model.user_evidence_U.copy_(torch.tensor([0.0, 5, 20]))
    masks = {"audio": torch.arange(9) % 2 == 0, "visual": torch.arange(9) % 3 != 1}
    return model, CatalogueFeatures({"audio": torch.randn(9, 5), "visual": torch.randn(9, 7)}, masks)


def test_the_score_is_the_gated_formula():
    model, catalogue = small_model()
    point = OperatingPoint(kappa=2.0, content_scale=3.0, cold_offset=-0.7, neighbour_weight=0.4)
    model.set_operating_point(point)
    assert astuple(model.item_tower.operating_point) == pytest.approx(astuple(point))
    items, history, _ = model.item_vectors(catalogue)
    content = model.item_tower.eval().content(catalogue.values, catalogue.masks)[0]
    chosen = torch.tensor([[1, 6, 8]])  # 6 is cold
    mask = torch.ones(1, 3, dtype=torch.bool)
    user = model.user_tower(model.user_vectors()[2:], history[chosen], torch.ones(1, 3), torch.zeros(1, 3), mask)
    scores = user @ items.T
    table, stand_in = model.item_table.output_ND, model.neighbour_vector_ND
    gates = [n / (n + 2.0) if n else 0.0 for n in model.item_evidence_N.tolist()]
    past_ids = (table[1] + 0.4 * stand_in[6] + table[8]) / 3**0.5
    residual = model.user_table.residual_UD[2] * 20 / 25
    user_id, user_content = past_ids + residual, content[[1, 6, 8]].sum(dim=0) / 3**0.5
    for item in range(9):
        gate = gates[item]
        expected = gate * user_id @ table[item]
        expected += (1 - gate) * 3.0 * (user_content @ content[item] + 0.4 * user_id @ stand_in[item])
        expected += -0.7 if item in (0, 6) else model.item_table.bias_N[item]
        torch.testing.assert_close(scores[0, item], expected)


def test_the_hard_gate_gives_content_to_cold_items_only():
    model, catalogue = small_model()
    items, _, _ = model.item_vectors(catalogue)
    cold = model.item_evidence_N == 0
    assert items[~cold, 5:].abs().max() == 0
    assert (items[cold, 5:].norm(dim=1) > 0.99).all()


def test_a_stranger_is_only_his_history():
    model, _ = small_model()
    assert model.user_table(torch.tensor([-1]), torch.tensor([0.0])).abs().max() == 0
    assert model.user_vectors()[0].abs().max() == 0  # no training event, no residual


def test_ids_alone_need_no_features():
    item_tower = ItemTower({}, None, 4)
    model = TwoTower(item_tower, UserTower(4, 0, NormalizedSum(), NormalizedSum()), ItemTable(5, 4), UserTable(2, 4))
    items, history, share = model.item_vectors(CatalogueFeatures({}, {}))
    assert items.shape == (5, 5) and history.shape == (5, 4) and share.shape == (5, 0)


def test_untied_tables_have_two_roles():
    model, catalogue = small_model(tied=False)
    model.item_evidence_N.fill_(1.0)
    items, history, _ = model.item_vectors(catalogue)
    torch.testing.assert_close(items[:, :4], model.item_table.output_ND)
    torch.testing.assert_close(history[:, :4], model.item_table.history_ND)


def test_item_vectors_do_not_depend_on_the_block():
    model, catalogue = small_model()
    for whole, blocked in zip(model.item_vectors(catalogue), model.item_vectors(catalogue, block=2), strict=True):
        torch.testing.assert_close(whole, blocked)


def test_history_smoothing_mixes_neighbours_content():
    model, catalogue = small_model()
    plain = model.item_vectors(catalogue)[1]
    model.set_operating_point(OperatingPoint(history_smoothing=0.5))
    model.smoothing_idx_NK[2, :2] = torch.tensor([4, 5])
    model.smoothing_weight_NK[2, :2] = torch.tensor([0.4, 0.2])
    mixed = model.item_vectors(catalogue)[1]
    torch.testing.assert_close(mixed[2, 4:], plain[2, 4:] + 0.2 * plain[4, 4:] + 0.1 * plain[5, 4:])
    torch.testing.assert_close(mixed[:2], plain[:2])
    torch.testing.assert_close(mixed[:, :4], plain[:, :4])


def test_a_tied_table_draws_one_dropout_mask():
    table = ItemTable(50, 8, dropout=0.5)
    history, output = table.draw()
    assert history is output
    assert 0.3 < (output == 0).float().mean() < 0.7
    assert (table.eval().draw()[0] == 0).sum() == 0
