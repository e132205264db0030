"""Preprocessing of pictures against the image processors, the cut models against those of transformers, and real weights."""

import numpy as np
import pytest
import torch
import transformers

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import ConfigError
from avrec.models.encoders.base import RAW
from avrec.models.encoders.checkpoint import Checkpoint, read_checkpoint
from avrec.models.encoders.frames import CLIPVisionEncoder, EfficientNetEncoder, Pixels, ViTEncoder
from tests.models.tiny_encoders import VIT, clip_vision, efficientnet, lite, media, pixels, vit
from tests.models.wheel_weights import converted

LITE0 = {"image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3, "include_top": False}
PROCESSORS = [
    pytest.param("EfficientNetImageProcessor", {}, id="efficientnet: normalised twice"),
    pytest.param("EfficientNetImageProcessor", LITE0, id="efficientnet-lite"),
    pytest.param("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}, id="offset"),
    pytest.param("EfficientNetImageProcessor", {"do_normalize": False, "include_top": False}, id="rescaled only"),
    pytest.param("ViTImageProcessor", {}, id="vit"),
    pytest.param(
        "ViTImageProcessor", {"do_rescale": False, "image_mean": [9.0, 8, 7], "image_std": [3.0, 2, 1]}, id="raw"
    ),
    pytest.param("CLIPImageProcessor", {}, id="clip"),
]


def picture(size):
    y, x = np.mgrid[:size, :size]
    return np.stack([(x + 2 * y + 50 * channel) % 256 for channel in range(3)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("name", "options"), PROCESSORS)
def test_pixels_are_the_image_processors(name, options):
    processor_class = getattr(transformers, name)
    size = {"height": 40, "width": 40} if name != "CLIPImageProcessor" else {"shortest_edge": 40}
    processor = processor_class(size=size, crop_size={"height": 40, "width": 40}, **options)
    frames = np.stack([picture(40), picture(40)[::-1]])
    expected = processor(list(frames), input_data_format="channels_last", return_tensors="pt").pixel_values
    found = Pixels(processor)(torch.from_numpy(frames.copy())[None], torch.ones(1))
    assert found.shape == (1, 2, 3, 40, 40)
    torch.testing.assert_close(found[0], expected, atol=2e-6 * float(expected.abs().max()), rtol=0)


def frame_vectors(encoder, values):
    top = encoder.encode(values, RAW, encoder.num_blocks)
    return encoder.trunk.norm(top.flatten(0, 1)).flatten(0, 1)


def stock_of(encoder):
    config_class, model_class = encoder.classes()
    return model_class(config_class.from_dict(encoder.model_config(encoder.checkpoint))).eval()


@pytest.mark.parametrize("make", [efficientnet, vit, clip_vision])
@torch.no_grad()
def test_the_cut_model_is_the_model_of_transformers(make):
    encoder = make()
    stock = stock_of(encoder)
    encoder.trunk.load_state_dict(encoder.cut(stock).state_dict())
    values = media(encoder)
    frames = encoder.trunk.preprocess(values.flatten(0, 1), torch.ones(3)).flatten(0, 1)
    options = {} if make is efficientnet else {"interpolate_pos_encoding": True}
    found = stock(pixel_values=frames, **options)
    expected = found.last_hidden_state[:, 0] if make is vit else found.pooler_output
    torch.testing.assert_close(frame_vectors(encoder, values), expected, atol=1e-5, rtol=1e-5)


def test_a_block_of_efficientnet_is_a_stage():
    assert [len(stage.parts) for stage in efficientnet().trunk.blocks] == [1, 2, 2]
    assert [len(stage.parts) for stage in efficientnet(depth_coefficient=1.6).trunk.blocks] == [2, 4, 4]


def test_pictures_of_any_size_go_through_efficientnet():
    encoder = efficientnet()
    for height, width in ((31, 45), (64, 16)):
        other = EfficientNetEncoder(
            encoder.checkpoint, "", VideoSpec(num_frames=2, height_px=height, width_px=width), 8, 4
        )
        assert other.steps(media(other)).shape == (3, 4, 1280)


def test_lite_has_no_gate_to_train_and_an_open_one_is_asked_for():
    assert any("squeeze_excite" in name for name, _ in efficientnet().named_parameters())
    encoder = lite()
    assert not any("squeeze_excite" in name for name in encoder.state_dict())
    stock = stock_of(encoder)
    with pytest.raises(ConfigError, match=r"'nowhere/efficientnet' has ReLU6 as .*block 0 has a squeeze-and-excite"):
        encoder.check_loaded(stock)
    for block in stock.encoder.blocks:
        block.squeeze_excite.expand.weight.data.zero_()
        block.squeeze_excite.expand.bias.data.fill_(30.0)
    encoder.check_loaded(stock)
    frames = torch.randn(2, 3, 24, 24)
    expected = stock(pixel_values=frames).pooler_output
    trunk = encoder.cut(stock)
    hidden = trunk.stem(frames[None])
    for block in trunk.blocks:
        hidden = block(hidden)
    torch.testing.assert_close(trunk.norm(hidden)[0], expected, atol=1e-6, rtol=1e-6)
    stock.encoder.blocks[0].squeeze_excite = efficientnet().trunk.blocks[0].parts[0].squeeze_excite
    stock.encoder.blocks[0].squeeze_excite.expand.weight.data.zero_()
    stock.encoder.blocks[0].squeeze_excite.expand.bias.data.fill_(1.0)
    for block in stock.encoder.blocks[1:]:
        block.squeeze_excite = stock.encoder.blocks[0].squeeze_excite
    with pytest.raises(ConfigError, match=r"not open; such models are not supported"):
        encoder.check_loaded(stock)


def test_a_lite_whose_gates_are_not_open_is_not_loaded(tmp_path):
    encoder = lite()
    stock_of(encoder).save_pretrained(tmp_path)
    given = EfficientNetEncoder(encoder.checkpoint, str(tmp_path), encoder.spec)
    with pytest.raises(ConfigError, match=r"block 0 has a squeeze-and-excite that is not open"):
        given.load_pretrained()


def test_what_does_not_fit_is_refused():
    config = transformers.ViTConfig(**VIT).to_dict()
    described = Checkpoint(config, pixels(32), "r")
    with pytest.raises(
        ConfigError, match=r"24 x 36 px cannot be cut into patches of 8 px; give multiples of 8, best 32"
    ):
        ViTEncoder(described, "a/b", VideoSpec(height_px=24, width_px=36))
    with pytest.raises(ConfigError, match=r"'a/b' holds no preprocessor_config.json, so how it wants its pixels"):
        ViTEncoder(Checkpoint(config, {}, "r"), "a/b", VideoSpec(height_px=32, width_px=32))
    with pytest.raises(ConfigError, match=r"an encoder of video takes VideoSpec"):
        CLIPVisionEncoder(described, "a/b", AudioSpec())


def test_positions_are_interpolated_only_at_another_size():
    assert vit().trunk.stem.parts[0].native
    assert not clip_vision().trunk.stem.parts[0].native


# --- the real weights


@pytest.fixture(scope="module")
def lite0():
    pretrained = converted("efficientnet-lite0")
    clip = VideoSpec(num_frames=1, height_px=224, width_px=224)
    encoder = EfficientNetEncoder(read_checkpoint(pretrained), pretrained, clip, 64, 8)
    encoder.load_pretrained()
    return encoder


@torch.no_grad()
def test_the_real_weights_give_the_reference_numbers(lite0):
    vector = frame_vectors(lite0, torch.from_numpy(picture(224))[None, None, None])[0]
    assert vector.norm().item() == pytest.approx(13.592, abs=1e-2)
    assert vector[:5].tolist() == pytest.approx([0.00127, 0, 0, 0.24587, 0], abs=1e-4)
    assert (vector >= 0).all()
    assert sum(value.numel() for value in lite0.trunk.parameters()) == 4_007_548 - 636_540
    assert len(lite0.trunk.blocks) == 7
    formula = (torch.from_numpy(picture(224)).float() - 127) / 128
    found = lite0.trunk.preprocess(torch.from_numpy(picture(224))[None, None], torch.ones(1))[0, 0]
    torch.testing.assert_close(found.permute(1, 2, 0), formula, atol=1e-6, rtol=0)
