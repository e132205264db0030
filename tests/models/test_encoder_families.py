"""wav2vec 2.0, HuBERT, AST and VideoMAE against transformers: preprocessing, cutting, loading, and what is refused."""

import numpy as np
import pytest
import torch

from avrec.core.clips import AudioSpec, VideoSpec
from avrec.core.errors import ConfigError
from avrec.models.encoders.base import RAW

transformers = pytest.importorskip("transformers")

from avrec.models.encoders.ast import ASTEncoder, FilterBank, mel_bands  # noqa: E402
from avrec.models.encoders.checkpoint import Checkpoint, read_checkpoint  # noqa: E402
from avrec.models.encoders.videomae import VideoMAEEncoder, sinusoids  # noqa: E402
from avrec.models.encoders.wav2vec2 import HubertEncoder, UnitVariance, Wav2Vec2Encoder  # noqa: E402

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
WAVE = {
    **SMALL,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 5,
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
SECOND = AudioSpec(clip_sec=1.0)
FRAMES = VideoSpec(num_frames=4, height_px=32, width_px=32)
PICTURES = {**SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4}


def randomised(model):
    """Positions and class tokens start as zeros: a test that leaves them so tests nothing of them."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def sound(num_clips=2, num_samples=16_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(num_samples) / 16_000
    return torch.stack(
        [
            0.3 * torch.sin(2 * torch.pi * 220 * (3 + place) * time)
            + 0.05 * torch.randn(num_samples, generator=generator)
            + 0.1 * place
            for place in range(num_clips)
        ]
    )


def pictures(num_clips=2, spec=FRAMES):
    return torch.randint(0, 256, (num_clips, *spec.shape[1:]), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )


def saved(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def loaded(encoder_class, folder, clip, **options):
    torch.manual_seed(7)
    encoder = encoder_class(read_checkpoint(folder), folder, clip, dim=8, num_steps=4, **options)
    encoder.load_pretrained()
    return encoder


def tokens(encoder, clips):
    """What the trunk gives: (X, T, H), before the averaging to steps."""
    hidden = encoder.encode(clips.unsqueeze(1), RAW, encoder.num_blocks).squeeze(1)
    return encoder.trunk.norm(hidden)


# --- wav2vec 2.0 and HuBERT

WAVE_MODELS = [
    pytest.param(Wav2Vec2Encoder, "Wav2Vec2", {}, id="wav2vec2"),
    pytest.param(Wav2Vec2Encoder, "Wav2Vec2", STABLE, id="wav2vec2 large"),
    pytest.param(HubertEncoder, "Hubert", {}, id="hubert"),
    pytest.param(HubertEncoder, "Hubert", {"feat_proj_layer_norm": False, **STABLE}, id="hubert large"),
    pytest.param(HubertEncoder, "Hubert", {"conv_pos_batch_norm": True}, id="hubert with batch norm"),
]


@pytest.mark.parametrize(("encoder_class", "name", "options"), WAVE_MODELS)
def test_a_wave_trunk_is_the_model(tmp_path, encoder_class, name, options):
    config = getattr(transformers, f"{name}Config")(**{**WAVE, **options})
    model = randomised(getattr(transformers, f"{name}ForCTC")(config))
    extractor = transformers.Wav2Vec2FeatureExtractor()
    encoder = loaded(encoder_class, saved(tmp_path, model, extractor), SECOND)
    clips = sound()
    inputs = extractor(list(clips.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        wanted = getattr(model, model.base_model_prefix)(inputs).last_hidden_state
        torch.testing.assert_close(tokens(encoder, clips), wanted, rtol=1e-4, atol=1e-4)
    assert wanted.shape == (2, 49, 16) and wanted.std() > 0.1


@pytest.mark.parametrize("normalise", [True, False])
def test_a_wave_is_normalised_over_its_valid_part_as_the_extractor_does(normalise):
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=True)
    clips, lengths = sound(3, 8_000), [8_000, 5_000, 1]
    raw = [clip[:length].numpy() for clip, length in zip(clips, lengths, strict=True)]
    wanted = extractor(raw, sampling_rate=16_000, padding=True, return_tensors="pt").input_values
    valid = torch.tensor(np.array(lengths, dtype=np.float32) / 8_000)
    found = UnitVariance(extractor)(clips, valid)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_silence_stays_finite():
    extractor = transformers.Wav2Vec2FeatureExtractor()
    assert UnitVariance(extractor)(torch.zeros(2, 800), torch.tensor([1.0, 0.0])).abs().max() == 0


def test_a_file_without_the_mask_of_pretraining_is_read(tmp_path):
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**WAVE, mask_time_prob=0.0))
    folder = saved(tmp_path, model, transformers.Wav2Vec2FeatureExtractor())
    config = {**read_checkpoint(folder).config, "mask_time_prob": 0.05}
    Wav2Vec2Encoder(Checkpoint(config, {}, ""), folder, SECOND).load_pretrained()


def test_a_clip_that_a_wave_model_cannot_take_is_refused():
    checkpoint = Checkpoint(transformers.Wav2Vec2Config(**WAVE).to_dict(), {}, "")
    with pytest.raises(ConfigError, match=r"Wav2Vec2Encoder.clip.sample_rate_hz is 8000; the checkpoint takes 16000"):
        Wav2Vec2Encoder(checkpoint, "x", AudioSpec(sample_rate_hz=8_000))
    with pytest.raises(ConfigError, match=r"clip_sec is 0.02; expected at least 0.025 s, which one token hears"):
        Wav2Vec2Encoder(checkpoint, "x", AudioSpec(clip_sec=0.02))
    assert Wav2Vec2Encoder(checkpoint, "x", AudioSpec(clip_sec=0.025)).level_shape(0) == (1, 1, 16)
    with pytest.raises(ConfigError, match=r"HubertEncoder reads checkpoints of \['hubert'\]; 'x' holds 'wav2vec2'"):
        HubertEncoder(checkpoint, "x", SECOND)


# --- AST


def ast_model(max_length, **options):
    config = transformers.ASTConfig(**SMALL, max_length=max_length, num_mel_bins=32, num_labels=3, **options)
    return randomised(transformers.ASTForAudioClassification(config))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_filter_bank_is_the_extractors(normalise):
    pytest.importorskip("torchaudio")
    extractor = transformers.ASTFeatureExtractor(max_length=98, do_normalize=normalise)
    clips = sound(4)
    clips[2] *= 1e-4
    clips[3] = 0.0
    wanted = extractor(list(clips.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    found = FilterBank(extractor)(clips, torch.ones(4))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=2e-3)
    assert (found - wanted).abs().mean() < 1e-4


def test_the_filter_bank_pads_as_the_extractor_does():
    extractor = transformers.ASTFeatureExtractor(max_length=98)
    clips, lengths = sound(3), [16_000, 9_123, 399]
    for clip, length in zip(clips, lengths, strict=True):
        clip[length:] = 0.0
    found = FilterBank(extractor)(clips, torch.tensor(lengths) / 16_000)
    for clip, length, features in zip(clips[:2], lengths, found, strict=False):
        wanted = extractor(clip[:length].numpy(), sampling_rate=16_000, return_tensors="pt").input_values[0]
        torch.testing.assert_close(features, wanted, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(found[2], torch.full((98, 128), 4.2677393 / (2 * 4.5689974)))  # nothing but padding


def test_mel_bands_are_kaldis():
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    wanted, _ = kaldi.get_mel_banks(64, 512, 16_000.0, 20.0, 0.0, 100.0, -500.0, 1.0)
    found = mel_bands(64, 512, 16_000)
    torch.testing.assert_close(found[:, :-1].float(), wanted, rtol=0, atol=1e-4)
    assert found.shape == (64, 257) and not found[:, -1].any()


def test_an_ast_trunk_is_the_model_at_its_own_length(tmp_path):
    model, extractor = ast_model(98), transformers.ASTFeatureExtractor(max_length=98, num_mel_bins=32)
    encoder = loaded(ASTEncoder, saved(tmp_path, model, extractor), SECOND)
    clips = sound()
    inputs = extractor(list(clips.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        patches = model.audio_spectrogram_transformer(inputs).last_hidden_state[:, 2:]
        found = tokens(encoder, clips)
    assert found.shape == (2, 9, 16)
    for column in range(9):  # patches are numbered band by band
        torch.testing.assert_close(
            found[:, column], (patches[:, column] + patches[:, 9 + column]) / 2, rtol=1e-3, atol=1e-3
        )


def test_a_shorter_clip_has_the_positions_of_the_first_columns(tmp_path):
    long, short = ast_model(200), ast_model(98)
    embeddings, cut = (part.audio_spectrogram_transformer.embeddings for part in (long, short))
    assert embeddings.get_shape(long.config) == (2, 19) and cut.get_shape(short.config) == (2, 9)
    state = {name: value for name, value in long.state_dict().items() if "position_embeddings" not in name}
    short.load_state_dict(state, strict=False)
    whole = embeddings.position_embeddings.detach()
    kept = [0, 1, *(2 + column for column in range(9)), *(2 + 19 + column for column in range(9))]
    cut.position_embeddings.data = whole[:, kept]
    extractor = transformers.ASTFeatureExtractor(max_length=98, num_mel_bins=32)
    clips = sound()
    found = tokens(loaded(ASTEncoder, saved(tmp_path / "long", long, extractor), SECOND), clips)
    wanted = tokens(loaded(ASTEncoder, saved(tmp_path / "short", short, extractor), SECOND), clips)
    torch.testing.assert_close(found, wanted)


def test_a_clip_that_ast_cannot_take_is_refused():
    checkpoint = Checkpoint(ast_model(98).config.to_dict(), {"num_mel_bins": 32}, "")
    with pytest.raises(ConfigError, match=r"ASTEncoder.clip.sample_rate_hz is 8000; the checkpoint takes 16000"):
        ASTEncoder(checkpoint, "x", AudioSpec(sample_rate_hz=8_000))
    for seconds in (0.17, 1.01):
        with pytest.raises(ConfigError, match=rf"clip_sec is {seconds}; expected 0.175 to 0.995 s"):
            ASTEncoder(checkpoint, "x", AudioSpec(clip_sec=seconds))
    assert ASTEncoder(checkpoint, "x", AudioSpec(clip_sec=0.175)).level_shape(0) == (1, 2 + 2 * 1, 16)


# --- VideoMAE


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_a_videomae_trunk_is_the_model(tmp_path, mean_pooling):
    config = transformers.VideoMAEConfig(**PICTURES, use_mean_pooling=mean_pooling, num_labels=3)
    model, processor = randomised(transformers.VideoMAEForVideoClassification(config)), small_processor()
    encoder = loaded(VideoMAEEncoder, saved(tmp_path, model, processor), FRAMES)
    clips = pictures()
    inputs = processor([[*clip.permute(0, 3, 1, 2)] for clip in clips], return_tensors="pt").pixel_values
    with torch.no_grad():
        patches = model.videomae(inputs).last_hidden_state
        found = tokens(encoder, clips)
    assert patches.shape == (2, 32, 16)  # 2 tubelets of 4 x 4 patches
    wanted = torch.stack([patches[:, :16].mean(dim=1), patches[:, 16:].mean(dim=1)], dim=1)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def small_processor():
    return transformers.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def test_pixels_are_the_processors():
    processor = small_processor()
    checkpoint = Checkpoint(transformers.VideoMAEConfig(**PICTURES).to_dict(), processor.to_dict(), "")
    clips = pictures()
    wanted = processor([[*clip.permute(0, 3, 1, 2)] for clip in clips], return_tensors="pt").pixel_values
    found = VideoMAEEncoder(checkpoint, "x", FRAMES).trunk.preprocess(clips, torch.ones(2))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_positions_are_those_of_transformers():
    table = transformers.models.videomae.modeling_videomae.get_sinusoid_encoding_table
    torch.testing.assert_close(sinusoids(40, 16), table(40, 16)[0], rtol=0, atol=1e-6)


def test_fewer_frames_have_the_positions_of_the_first():
    checkpoint = Checkpoint(transformers.VideoMAEConfig(**PICTURES).to_dict(), small_processor().to_dict(), "")
    short = VideoMAEEncoder(checkpoint, "x", VideoSpec(num_frames=2, height_px=32, width_px=32))
    assert short.level_shape(0) == (1, 16, 16)
    whole = VideoMAEEncoder(checkpoint, "x", FRAMES).trunk.stem.positions_PH
    assert torch.equal(short.trunk.stem.positions_PH, whole[:16])


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (VideoSpec(num_frames=4, height_px=48, width_px=32), r"pictures of 48 x 32 px; the checkpoint takes 32 x 32"),
        (VideoSpec(num_frames=3, height_px=32, width_px=32), r"num_frames is 3; expected a multiple of 2, at most 4"),
        (VideoSpec(num_frames=6, height_px=32, width_px=32), r"num_frames is 6; expected a multiple of 2, at most 4"),
    ],
)
def test_a_clip_that_videomae_cannot_take_is_refused(clip, text):
    checkpoint = Checkpoint(transformers.VideoMAEConfig(**PICTURES).to_dict(), small_processor().to_dict(), "")
    with pytest.raises(ConfigError, match=rf"VideoMAEEncoder.clip.*{text}"):
        VideoMAEEncoder(checkpoint, "x", clip)


# --- all of them

NAMES = ["wav2vec2", "hubert", "ast", "videomae"]


def made(name):
    wave = transformers.Wav2Vec2FeatureExtractor().to_dict()
    if name == "ast":
        return ASTEncoder(
            Checkpoint(ast_model(98).config.to_dict(), {"num_mel_bins": 32}, ""), "x", SECOND, num_steps=4
        )
    if name == "videomae":
        config = transformers.VideoMAEConfig(**PICTURES).to_dict()
        return VideoMAEEncoder(Checkpoint(config, small_processor().to_dict(), ""), "x", FRAMES, num_steps=2)
    encoder_class, config = {
        "wav2vec2": (Wav2Vec2Encoder, transformers.Wav2Vec2Config),
        "hubert": (HubertEncoder, transformers.HubertConfig),
    }[name]
    return encoder_class(Checkpoint(config(**WAVE).to_dict(), wave, ""), "x", SECOND, num_steps=4)


@pytest.mark.parametrize("name", NAMES)
def test_time_runs_forward_through_a_trunk(name):
    """A change in the last quarter of a clip moves the last step more than the first."""
    encoder = made(name)
    randomised(encoder.trunk)
    clips = pictures() if name == "videomae" else sound()
    changed = clips.clone()
    start = clips.shape[1] * 3 // 4
    changed[:, start:] = changed[:, start:].flip(1) if name != "videomae" else 255 - changed[:, start:]
    with torch.no_grad():
        first, last = (encoder.steps(part.unsqueeze(1)) for part in (clips, changed))
    moved = (first - last).norm(dim=2).mean(dim=0)
    assert moved[-1] > 1.2 * moved[0]
