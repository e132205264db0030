"""What must hold for every pretrained encoder; see `tiny_encoders.CASES`."""

import copy
import io
import json
import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.models.encoders.base import RAW
from avrec.models.encoders.feature import Standardise
from avrec.models.encoders.frames import PerFrame
from tests.models.tiny_encoders import CASES, media

every_encoder = pytest.mark.parametrize("make", CASES)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def loss_of(encoder, values, valid=None, level=RAW):
    return encoder(encoder.steps(values, valid, level)).square().mul(torch.arange(1.0, 9.0)).sum()


def gradients(encoder, values, valid=None, level=RAW):
    encoder.zero_grad()
    loss_of(encoder, values, valid, level).backward()
    return {name: value.grad.clone() for name, value in encoder.named_parameters() if value.grad is not None}


@every_encoder
@pytest.mark.parametrize("num_clips", [1, 2])
@torch.no_grad()
def test_a_value_may_be_picked_up_at_any_level(make, num_clips):
    encoder = make(num_clips=num_clips)
    values, valid = media(encoder), torch.tensor([[1.0, 0.7], [0.45, 1.0], [1.0, 1.0]])[:, :num_clips]
    whole = encoder.steps(values, valid)
    assert whole.shape == (3, *encoder.feature_shape) == (3, 4, encoder.trunk.hidden_dim)
    tokens = encoder(whole)
    assert tokens.shape == (3, 4, encoder.output_dim) and encoder.output_dim == 8
    assert encoder.pooled_level == encoder.num_blocks + 1
    assert encoder.level_shape(RAW) == encoder.spec.shape
    assert encoder.level_shape(encoder.pooled_level) == encoder.feature_shape
    reached = RAW
    for level in range(encoder.pooled_level + 1):
        values, reached = encoder.encode(values, reached, level, valid), level
        assert values.shape == (3, *encoder.level_shape(level))
        torch.testing.assert_close(encoder.steps(values, valid, level), whole, atol=1e-5, rtol=1e-5)
    assert values.std(dim=0).mean() > 1e-2  # the items differ, so the comparisons above say something


@every_encoder
@torch.no_grad()
def test_items_and_clips_are_encoded_each_by_itself(make):
    encoder = make(num_clips=2)
    values, valid = media(encoder), torch.tensor([[1.0, 0.7], [0.5, 1.0], [1.0, 1.0]])
    whole = encoder.steps(values, valid)
    for item in range(3):
        alone = encoder.steps(values[item : item + 1], valid[item : item + 1])
        torch.testing.assert_close(alone[0], whole[item], atol=1e-5, rtol=1e-5)
    top = encoder.encode(values, RAW, encoder.num_blocks)
    swapped = encoder.encode(values.flip(1), RAW, encoder.num_blocks)
    torch.testing.assert_close(swapped.flip(1), top, atol=1e-5, rtol=1e-5)


@every_encoder
def test_an_item_without_media_gives_zeros_and_no_nan(make):
    encoder = make()
    encoder.set_trainable("all")
    values, valid = media(encoder), torch.tensor([[1.0], [0.0], [0.5]])
    values[1] = 0
    steps = encoder.steps(values, valid)
    assert steps[1].abs().max() == 0
    assert all(torch.isfinite(value).all() for value in gradients(encoder, values, valid).values())


@every_encoder
@torch.no_grad()
def test_what_lies_after_the_valid_stretch_is_not_pooled(make):
    encoder = make()
    values, valid = media(encoder), torch.full((3, 1), 0.4)
    top = encoder.encode(values, RAW, encoder.num_blocks, valid)
    if isinstance(encoder.trunk.stem, PerFrame):  # frames do not see one another
        spoiled = values.clone()
        spoiled[:, :, 2:] = 255 - spoiled[:, :, 2:]
        torch.testing.assert_close(encoder.steps(spoiled, valid), encoder.steps(values, valid))
    short, full = encoder.steps(top, valid, encoder.num_blocks), encoder.steps(top, None, encoder.num_blocks)
    tokens = encoder.trunk.norm(top.flatten(0, 1))
    num_valid = 0.4 * tokens.shape[1]
    first = tokens[:, : int(num_valid)].sum(dim=1) + (num_valid % 1) * tokens[:, int(num_valid)]
    torch.testing.assert_close(short.mean(dim=1), first / num_valid, atol=1e-4, rtol=1e-4)
    assert (short - full).abs().max() > 1e-3


@every_encoder
@torch.no_grad()
def test_the_order_of_time_shows_in_the_mean_of_the_tokens(make):
    encoder = make()
    steps = encoder.steps(media(encoder))
    there, back = encoder(steps).mean(dim=1), encoder(steps.flip(1)).mean(dim=1)
    assert (there - back).norm(dim=1).min() > 0.01 * there.norm(dim=1).mean()


@every_encoder
@pytest.mark.parametrize("num_blocks", [0, 1, 2, "all"])
def test_only_what_is_free_learns(make, num_blocks):
    encoder = make()
    encoder.set_trainable(num_blocks)
    encoder.train()
    before = copy.deepcopy(encoder.state_dict())
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        loss_of(encoder, media(encoder)).backward()
        optimiser.step()
        encoder.train()
    after = encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    blocks = encoder.num_blocks
    free = {0: blocks + 1, 1: blocks, 2: blocks - 1, "all": 0}[num_blocks]
    parameters = dict(encoder.named_parameters())
    assert encoder.boundary_level == {0: blocks + 1, 1: blocks - 1, 2: blocks - 2, "all": RAW}[num_blocks]
    for name, parameter in parameters.items():
        depth = encoder.depth_of(name)
        constant = name.removeprefix("trunk.") in encoder.trunk.constants
        learns = not constant and depth >= free
        assert parameter.requires_grad == learns, name
        if not learns:
            assert name not in moved, name
        elif parameter.grad.abs().max() > 1e-6:
            assert name in moved, name
    assert not [name for name in moved if name not in parameters]  # buffers: batch norm's statistics above all
    assert {encoder.depth_of(name) for name in moved} == set(range(free, blocks + 2))
    assert not any(module.training for module in encoder.trunk.modules())
    assert encoder.head.training and not encoder.eval().head.training


@every_encoder
def test_depth_grows_from_the_stem_to_the_head(make):
    encoder = make()
    depths = [encoder.depth_of(name) for name, _ in encoder.trunk.named_parameters(prefix="trunk")]
    assert depths == sorted(depths) and depths[0] == 0 and depths[-1] == encoder.num_blocks
    assert encoder.depth_of("trunk.blocks.0.x.weight") == 1
    assert {encoder.depth_of(f"head.{name}") for name, _ in encoder.head.named_parameters()} == {encoder.num_blocks + 1}


@every_encoder
def test_gradients_from_the_boundary_are_those_from_the_media(make):
    encoder = make().double()
    values = media(encoder)
    for num_blocks in (0, 1, 2, encoder.num_blocks):
        encoder.set_trainable(num_blocks)
        encoder.train()
        from_media = gradients(encoder, values)
        with torch.no_grad():
            stored = encoder.encode(values, RAW, encoder.boundary_level)
        from_boundary = gradients(encoder, stored, level=encoder.boundary_level)
        assert from_media.keys() == from_boundary.keys()
        assert any(name.startswith("trunk") for name in from_media) == (num_blocks > 0)
        for name, value in from_media.items():
            torch.testing.assert_close(from_boundary[name], value, atol=1e-6, rtol=1e-6, msg=name)


@every_encoder
def test_checkpointing_changes_memory_only(make):
    encoder = make()
    values, kept, made = media(encoder), {}, {}
    for checkpointing in (False, True):
        encoder.set_trainable("all", checkpointing=checkpointing)
        encoder.train()
        bytes_kept = 0

        def pack(value):
            nonlocal bytes_kept
            bytes_kept += value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss_of(encoder, values)
        kept[checkpointing] = bytes_kept
        made[checkpointing] = gradients(encoder, values)
    assert kept[True] < 0.6 * kept[False]
    assert made[True].keys() == made[False].keys()
    for name, value in made[False].items():
        torch.testing.assert_close(made[True][name], value, atol=1e-6, rtol=1e-5, msg=name)


@every_encoder
def test_more_blocks_than_there_are(make):
    encoder = make()
    for wrong in (encoder.num_blocks + 1, -1, True, "top"):
        with pytest.raises(
            ConfigError, match=rf"{wrong!r} blocks cannot be trained; expected 0 to {encoder.num_blocks} or 'all'"
        ):
            encoder.set_trainable(wrong)


@every_encoder
def test_the_fingerprint_knows_what_a_level_depends_on(make):
    encoder = make()
    levels = range(RAW, encoder.pooled_level + 1)
    before = {level: encoder.fingerprint(level) for level in levels}
    assert json.loads(json.dumps(before)) == {str(level): value for level, value in before.items()}  # plain
    assert len({json.dumps(value) for value in before.values()}) == len(before)
    rebuilt = type(encoder)(encoder.checkpoint, "elsewhere", encoder.spec, 8, 4)
    assert rebuilt.fingerprint(0)["weights"] != before[0]["weights"]
    rebuilt.load_state_dict(encoder.state_dict())
    assert {level: rebuilt.fingerprint(level) for level in levels} == before

    next(encoder.trunk.blocks[1].parameters()).data.add_(1e-3)
    changed = [level for level in levels if encoder.fingerprint(level) != before[level]]
    assert changed == list(range(2, encoder.pooled_level + 1))
    for value in encoder.trunk.norm.parameters():
        value.data.add_(1e-3)
    assert encoder.fingerprint(0) == before[0]
    torch.nn.init.normal_(encoder.head.project.weight)
    shorter = type(encoder)(encoder.checkpoint, "elsewhere", encoder.spec, 8, 3)
    shorter.trunk.load_state_dict(encoder.trunk.state_dict())
    assert shorter.fingerprint(1) == encoder.fingerprint(1)
    assert shorter.fingerprint(shorter.pooled_level) != encoder.fingerprint(encoder.pooled_level)


@every_encoder
@torch.no_grad()
def test_a_model_is_rebuilt_from_its_checkpoint_and_state_alone(make):
    encoder = make()
    buffer = io.BytesIO()
    checkpoint = encoder.checkpoint
    torch.save([vars(checkpoint), encoder.state_dict()], buffer)
    buffer.seek(0)
    plain, state = torch.load(buffer, weights_only=True)
    rebuilt = type(encoder)(type(checkpoint)(**plain), "gone", encoder.spec, 8, 4).eval()
    rebuilt.load_state_dict(state)
    values = media(encoder)
    torch.testing.assert_close(rebuilt(rebuilt.steps(values)), encoder.eval()(encoder.steps(values)))
    assert isinstance(rebuilt.get_submodule("preprocess"), Standardise)


class Whole(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, values, valid):
        return self.encoder(self.encoder.steps(values, valid))


def quietly(export, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(*arguments, **options)


@every_encoder
@torch.no_grad()
def test_a_trace_takes_media_and_another_batch(make):
    whole = Whole(make(num_clips=2)).eval()
    traced = quietly(torch.jit.trace, whole, (media(whole.encoder, 2), torch.rand(2, 2)), strict=False)
    values, valid = media(whole.encoder, 3, seed=1), torch.rand(3, 2)
    torch.testing.assert_close(traced(values, valid), whole(values, valid), atol=1e-5, rtol=1e-5)


@pytest.mark.slow  # about 10 s an export
@every_encoder
@torch.no_grad()
def test_onnx_takes_media_and_another_batch(make, tmp_path):
    whole = Whole(make(num_clips=2)).eval()
    example, batch = (media(whole.encoder, 2), torch.rand(2, 2)), torch.export.Dim("batch", min=1, max=64)
    program = quietly(
        torch.onnx.export,
        whole,
        example,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=({0: batch}, {0: batch}),
    )
    program.save(tmp_path / "encoder.onnx", external_data=False)
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    names = [entry.name for entry in session.get_inputs()]
    for num_items in (1, 5):
        values, valid = media(whole.encoder, num_items, seed=1), torch.rand(num_items, 2)
        (found,) = session.run(None, dict(zip(names, (values.numpy(), valid.numpy()), strict=True)))
        np.testing.assert_allclose(found, whole(values, valid).numpy(), atol=1e-4, rtol=1e-4)
