"""Whisper's spectrogram against the feature extractor, its encoder against the one of transformers, and its real weights."""

import numpy as np
import pytest
import torch
import transformers

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import ConfigError
from avrec.models.encoders.base import RAW
from avrec.models.encoders.checkpoint import Checkpoint, read_checkpoint
from avrec.models.encoders.whisper import LogMel, WhisperEncoder
from tests.models.tiny_encoders import media, whisper
from tests.models.wheel_weights import converted

RATE = 16_000


def sounds(seconds):
    """Noise, a tone with a beat, a click in silence, and silence."""
    time = np.arange(int(RATE * seconds)) / RATE
    rng = np.random.default_rng(0)
    click = np.zeros_like(time)
    click[len(click) // 3] = 1.0
    tone = 0.5 * np.sin(2 * np.pi * 440 * time) * np.sin(2 * np.pi * 3 * time)
    return np.stack([0.1 * rng.standard_normal(len(time)), tone, click, np.zeros_like(time)]).astype(np.float32)


@pytest.mark.parametrize(("seconds", "padding"), [(30.0, "max_length"), (1.28, "do_not_pad")])
@pytest.mark.parametrize("num_bands", [80, 128])
def test_the_spectrogram_is_the_feature_extractors(seconds, padding, num_bands):
    extractor = transformers.WhisperFeatureExtractor(feature_size=num_bands)
    waves = sounds(seconds)
    expected = [
        extractor(wave, sampling_rate=RATE, padding=padding, return_tensors="np").input_features[0] for wave in waves
    ]
    found = LogMel(extractor)(torch.from_numpy(waves), torch.ones(4))
    assert found.shape == (4, num_bands, round(seconds * 100))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-4, rtol=0)


def test_the_floor_is_each_clips_own():
    loud, quiet = torch.from_numpy(sounds(1.28)[:2])
    mel = LogMel(transformers.WhisperFeatureExtractor())
    together = mel(torch.stack([loud, quiet * 1e-3]), torch.ones(2))
    torch.testing.assert_close(together[1:], mel(quiet[None] * 1e-3, torch.ones(1)))


@torch.no_grad()
def test_at_the_full_length_it_is_the_encoder_of_transformers():
    """Tiny weights, 3 s of positions, so a clip of 3 s is what the stock encoder insists on."""
    tiny = whisper()
    encoder = WhisperEncoder(tiny.checkpoint, "nowhere", AudioSpec(clip_sec=3.0), 8, 4)
    _, model_class = encoder.classes()
    stock = model_class(transformers.WhisperConfig.from_dict(tiny.checkpoint.config)).eval()
    torch.nn.init.normal_(stock.embed_positions.weight)
    encoder.trunk.load_state_dict(encoder.cut(stock).state_dict())
    values = media(encoder)
    top = encoder.encode(values, RAW, encoder.num_blocks)
    found = encoder.trunk.norm(top.flatten(0, 1))
    expected = stock(encoder.trunk.preprocess(values.flatten(0, 1), torch.ones(3))).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_positions_are_the_first_ones_and_are_never_trained():
    encoder = whisper()
    assert encoder.level_shape(0) == (1, 24, 16)  # 0.48 s of 20 ms
    encoder.set_trainable("all")
    assert not encoder.trunk.stem.positions_TH.requires_grad
    assert encoder.trunk.stem.conv1.weight.requires_grad


def make(**changes):
    tiny = whisper()
    given = {"checkpoint": tiny.checkpoint, "pretrained": "some/model", "clip": tiny.spec, **changes}
    return WhisperEncoder(**given)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"sample_rate_hz is 22050; the checkpoint takes 16000"):
        make(clip=AudioSpec(sample_rate_hz=22_050))
    with pytest.raises(ConfigError, match=r"clip_sec is 1.03; expected a multiple of 0.02 s, at most 3 s"):
        make(clip=AudioSpec(clip_sec=1.03))
    with pytest.raises(ConfigError, match=r"clip_sec is 3.02; .*at most 3 s"):
        make(clip=AudioSpec(clip_sec=3.02))
    with pytest.raises(ConfigError, match=r"WhisperEncoder.clip is VideoSpec.*takes AudioSpec"):
        make(clip=VideoSpec())
    with pytest.raises(ConfigError, match=r"num_steps is 17; expected 1 to 16"):
        make(num_steps=17)
    other = Checkpoint({"model_type": "vit"}, {}, "")
    with pytest.raises(
        ConfigError, match=r"WhisperEncoder reads checkpoints of \['whisper'\]; 'some/model' holds 'vit'"
    ):
        make(checkpoint=other)


# --- the real weights


@pytest.fixture(scope="module")
def tiny_en():
    pretrained = converted("whisper-tiny.en")
    encoder = WhisperEncoder(read_checkpoint(pretrained), pretrained, AudioSpec(clip_sec=30.0), 64, 8)
    encoder.load_pretrained()
    return encoder


def tone():
    wave = torch.zeros(1, 1, 30 * RATE)
    wave[0, 0, :RATE] = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE).double() / RATE).float()
    return wave


@torch.no_grad()
def test_the_real_weights_give_the_reference_numbers(tiny_en):
    mel = tiny_en.trunk.preprocess(tone().flatten(0, 1), torch.ones(1))
    assert mel.shape == (1, 80, 3000)
    assert (mel.min().item(), mel.max().item()) == pytest.approx((-0.5618, 1.4382), abs=1e-3)
    top = tiny_en.encode(tone(), RAW, tiny_en.num_blocks)
    mean = tiny_en.trunk.norm(top.flatten(0, 1))[0, :50].mean(dim=0)
    assert mean.norm().item() == pytest.approx(21.298, abs=1e-2)
    assert mean[:5].tolist() == pytest.approx([1.2119, 1.1114, 0.0526, 0.7932, 0.3318], abs=1e-3)
    pooled = tiny_en.encode(top, tiny_en.num_blocks, tiny_en.pooled_level, torch.tensor([[1 / 30]]))
    torch.testing.assert_close(pooled[0].mean(dim=0), mean, atol=1e-4, rtol=1e-4)
    assert sum(value.numel() for value in tiny_en.trunk.parameters()) == 8_208_384


@torch.no_grad()
def test_the_real_weights_at_the_clips_length(tiny_en):
    short = WhisperEncoder(tiny_en.checkpoint, tiny_en.pretrained, AudioSpec(clip_sec=1.0), 64, 8)
    short.load_pretrained()
    torch.testing.assert_close(short.trunk.stem.positions_TH, tiny_en.trunk.stem.positions_TH[:50])
    vector = short.steps(tone()[..., :RATE]).mean(dim=1)
    padded = tiny_en.steps(tone(), torch.tensor([[1 / 30]])).mean(dim=1)
    assert torch.nn.functional.cosine_similarity(vector, padded).item() > 0.8
