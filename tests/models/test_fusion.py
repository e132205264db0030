"""What must hold for every fusion; a new one is a line in FUSIONS."""

import io

import pytest
import torch
from torch import nn
from torch.nn import functional

from avrec.models.fusion.attention import AttentionFusion
from avrec.models.fusion.base import Fusion
from avrec.models.fusion.concatenation import ConcatenationFusion
from avrec.models.fusion.cross_attention import CrossAttentionFusion
from avrec.models.fusion.gated import GatedFusion
from avrec.models.fusion.latent import LatentFusion
from avrec.models.fusion.weighted_sum import WeightedSum

FUSIONS = {
    "attention": lambda dims, **options: AttentionFusion(dims, num_heads=2, **options),
    "latent": lambda dims, **options: LatentFusion(dims, num_queries=3, num_heads=2, **options),
    "cross": lambda dims, **options: CrossAttentionFusion(dims, num_heads=2, **options),
    "gated": lambda dims, **options: GatedFusion(dims, **options),
    "concatenation": lambda dims, **options: ConcatenationFusion(dims, {"audio": 0.5}, **options),
    "weighted": lambda dims, **options: WeightedSum(dims, {"audio": 0.5}, **options),
    "learned": lambda dims, **options: WeightedSum(dims, {"audio": 0.5}, learned=True, **options),
}
NEED_EQUAL_WIDTHS = sorted(set(FUSIONS) - {"concatenation"})
DIM = 8
WIDTHS = {"audio": DIM, "text": DIM, "video": DIM}
# Every way in which three modalities can be there: rows 0 (nothing) to 7 (all).
PRESENT = torch.tensor([[bool(row >> place & 1) for place in range(3)] for row in range(8)])


@pytest.fixture(params=sorted(FUSIONS))
def make(request):
    return FUSIONS[request.param]


def trained(make, **options) -> Fusion:
    """A fusion whose every parameter is random, as training would leave it."""
    torch.manual_seed(1)
    fusion = make(WIDTHS, **options)
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.5)
    return fusion.eval()


def world(num_tokens=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = {name: torch.randn(8, num_tokens, DIM, generator=generator) for name in WIDTHS}
    return tokens, {name: PRESENT[:, place] for place, name in enumerate(WIDTHS)}


def spoil(tokens, masks, value):
    return {name: torch.where(masks[name][:, None, None], part, value) for name, part in tokens.items()}


@pytest.mark.parametrize("num_tokens", [1, 3])
def test_shapes_and_shares(make, num_tokens):
    fusion = trained(make)
    vector, share = fusion(*world(num_tokens))
    assert vector.shape == (8, fusion.output_dim) and share.shape == (8, 3)
    assert torch.isfinite(vector).all()
    assert (share >= 0).all() and (share[~PRESENT] == 0).all()
    torch.testing.assert_close(share.sum(dim=1), PRESENT.any(dim=1).float())
    torch.testing.assert_close(share[[1, 2, 4]], torch.eye(3))


@pytest.mark.parametrize("value", [99.0, float("nan"), float("inf")])
def test_what_is_absent_reaches_neither_the_vector_nor_the_share(make, value):
    fusion, (tokens, masks) = trained(make), world()
    for found, wanted in zip(fusion(spoil(tokens, masks, value), masks), fusion(tokens, masks), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_what_is_present_reaches_the_vector(make):
    fusion, (tokens, masks) = trained(make), world()
    before = fusion(tokens, masks)[0]
    for place, name in enumerate(WIDTHS):
        after = fusion({**tokens, name: -tokens[name]}, masks)[0]
        moved = (after - before).abs().amax(dim=1) > 1e-4
        assert torch.equal(moved, PRESENT[:, place]), name


def test_every_token_of_a_clip_counts(make):
    fusion, (tokens, masks) = trained(make), world()
    before = fusion(tokens, masks)[0]
    for place in range(3):
        changed = {name: part.clone() for name, part in tokens.items()}
        changed["audio"][:, place] *= -1
        assert (fusion(changed, masks)[0] - before)[7].abs().max() > 1e-4


@pytest.mark.parametrize("nothing", [0.0, float("nan")])
def test_gradients_flow_to_what_is_present_and_are_finite(make, nothing):
    fusion, (tokens, masks) = trained(make), world()
    tokens = {name: part.requires_grad_() for name, part in spoil(tokens, masks, nothing).items()}
    vector, _ = fusion(tokens, masks)
    (vector * torch.randn(vector.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for place, name in enumerate(WIDTHS):
        felt = tokens[name].grad.abs().amax(dim=(1, 2)) > 0
        assert torch.equal(felt, PRESENT[:, place]), name
    for name, parameter in fusion.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name


def test_each_item_is_fused_by_itself(make):
    fusion, (tokens, masks) = trained(make), world()
    whole = fusion(tokens, masks)
    order = torch.tensor([3, 0, 7])
    some = fusion({n: part[order] for n, part in tokens.items()}, {n: mask[order] for n, mask in masks.items()})
    for found, wanted in zip(some, whole, strict=True):
        torch.testing.assert_close(found, wanted[order])


def test_modalities_are_known_by_name_and_not_by_place(make):
    fusion, (tokens, masks) = trained(make), world()
    other_way = {name: tokens[name] for name in reversed(WIDTHS)}, {name: masks[name] for name in reversed(WIDTHS)}
    for found, wanted in zip(fusion(*other_way), fusion(tokens, masks), strict=True):
        assert torch.equal(found, wanted)


def test_only_training_drops_modalities_and_never_the_last(make):
    fusion = trained(make, modality_dropout=0.5)
    plain, (tokens, masks) = trained(make), world()
    many_tokens = {name: part.repeat(200, 1, 1) for name, part in tokens.items()}
    many_masks = {name: mask.repeat(200) for name, mask in masks.items()}
    wanted = plain(tokens, masks)
    for found, expected in zip(fusion(tokens, masks), wanted, strict=True):
        assert torch.equal(found, expected)
    vector, share = fusion.train()(many_tokens, many_masks)
    vector, share = vector.unflatten(0, (200, 8)), share.unflatten(0, (200, 8))
    torch.testing.assert_close(share.sum(dim=2), PRESENT.any(dim=1).float().expand(200, 8))
    torch.testing.assert_close(vector[:, [0, 1, 2, 4]], wanted[0][[0, 1, 2, 4]].expand(200, 4, -1))
    kept = (share[:, 7] > 0).float()
    # Of three, each is dropped with chance 1/2, and one stays when all would go: (1/2) + (1/8) / 3.
    assert kept.mean(dim=0).tolist() == pytest.approx([0.5 + 1 / 24] * 3, abs=0.12)
    # A dropped modality is as if it were absent: an item with all of them gave its vector without the last one too.
    shared = {name: part[7:].expand(2, -1, -1) for name, part in tokens.items()}
    fewer = {
        "audio": torch.tensor([True, True]),
        "text": torch.tensor([True, True]),
        "video": torch.tensor([True, False]),
    }
    for row in plain(shared, fewer)[0]:
        assert (vector[:, 7] - row).abs().amax(dim=1).min() < 1e-5


def test_dropout_is_off_by_default(make):
    fusion, (tokens, masks) = trained(make).train(), world()
    assert torch.equal(fusion(tokens, masks)[0], fusion(tokens, masks)[0])


def test_one_modality_alone(make):
    fusion = make({"audio": DIM}).eval()
    tokens, masks = world()
    vector, share = fusion({"audio": tokens["audio"]}, {"audio": masks["audio"]})
    assert torch.isfinite(vector).all()
    torch.testing.assert_close(share[:, 0], masks["audio"].float())


@pytest.mark.parametrize("sense", ["audio", "video"])
def test_users_of_one_sense_raise_its_share(make, sense):
    """Four tastes decide by the class of one sense; that of the other is independent. A few steps must move the share."""
    generator = torch.Generator().manual_seed(0)
    classes = {name: torch.randint(4, (200,), generator=generator) for name in ("audio", "video")}
    clips = {
        name: functional.one_hot(kind, DIM).float()[:, None, :] + 0.3 * torch.randn(200, 3, DIM, generator=generator)
        for name, kind in classes.items()
    }
    everywhere = dict.fromkeys(classes, torch.ones(200, dtype=torch.bool))
    torch.manual_seed(3)
    fusion = make(dict.fromkeys(classes, DIM))
    heads, users = nn.ModuleDict({name: nn.Linear(DIM, DIM) for name in classes}), nn.Linear(fusion.output_dim, 4)
    parameters = [*fusion.parameters(), *heads.parameters(), *users.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    shares = []
    for _ in range(60):
        vector, share = fusion({name: heads[name](clips[name]) for name in classes}, everywhere)
        shares.append(share[:, list(classes).index(sense)].mean().item())
        optimizer.zero_grad()
        functional.cross_entropy(users(vector), classes[sense]).backward()
        optimizer.step()
    if any(parameter.requires_grad for parameter in fusion.parameters()) or isinstance(fusion, ConcatenationFusion):
        assert shares[-1] > shares[0] + 0.1
    else:
        assert shares[-1] == pytest.approx(shares[0])


class Flat(nn.Module):
    """All fusions behind flat inputs: one graph tests the export of every one of them."""

    def __init__(self):
        super().__init__()
        self.fusions = nn.ModuleDict({name: trained(make) for name, make in FUSIONS.items()})

    def forward(self, audio, text, video, has_audio, has_text, has_video):
        tokens = {"audio": audio, "text": text, "video": video}
        masks = {"audio": has_audio, "text": has_text, "video": has_video}
        return tuple(out for fusion in self.fusions.values() for out in fusion(tokens, masks))


def flat_inputs(num_items, seed):
    tokens, masks = world(seed=seed)
    rows = torch.arange(num_items) % 8
    return (*(part[rows] for part in tokens.values()), *(mask[rows] for mask in masks.values()))


@pytest.fixture(scope="module")
def flat():
    return Flat().eval()


def test_traced_with_a_dynamic_batch(flat):
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(flat, flat_inputs(3, 0)), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    for num_items in (1, 8, 11):
        inputs = flat_inputs(num_items, 5)
        for found, wanted in zip(loaded(*inputs), flat(*inputs), strict=True):
            torch.testing.assert_close(found, wanted)


def test_exported_to_onnx_with_a_dynamic_batch(flat, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    names = ["audio", "text", "video", "has_audio", "has_text", "has_video"]
    torch.onnx.export(
        flat,
        flat_inputs(3, 0),
        tmp_path / "fusions.onnx",
        input_names=names,
        dynamic_shapes=[{0: "items"} for _ in names],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "fusions.onnx")
    for num_items in (1, 8, 11):
        inputs = flat_inputs(num_items, 5)
        found = session.run(None, dict(zip(names, (value.numpy() for value in inputs), strict=True)))
        for part, wanted in zip(found, flat(*inputs), strict=True):
            torch.testing.assert_close(torch.from_numpy(part), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NEED_EQUAL_WIDTHS)
def test_unequal_widths_are_refused(name):
    with pytest.raises(
        ValueError, match=r"needs equal widths, got \{'audio': 8, 'video': 6\}.*every encoder the same dim"
    ):
        FUSIONS[name]({"audio": 8, "video": 6})


@pytest.mark.parametrize("name", ["attention", "latent", "cross"])
def test_heads_must_divide_the_width(name):
    with pytest.raises(ValueError, match="the width 9 is not divisible by num_heads=2"):
        FUSIONS[name]({"audio": 9})


@pytest.mark.parametrize("fusion", [ConcatenationFusion, WeightedSum])
def test_a_weight_of_an_unknown_modality_is_refused(fusion):
    with pytest.raises(
        ValueError, match=r"fusion.weights: \['vidoe'\] are no modalities; there are \['audio', 'video'\]"
    ):
        fusion({"audio": 8, "video": 8}, {"vidoe": 2.0})
