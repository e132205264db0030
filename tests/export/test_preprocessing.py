"""The processors of Hugging Face's form, read with the Auto classes, against the preprocessing inside the graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from avrec.core.clips import AudioSpec
from avrec.core.files import write_json
from avrec.export.preprocessing import write_preprocessing
from avrec.models.encoders.base import MediaEncoder
from avrec.models.encoders.checkpoint import Checkpoint
from avrec.models.encoders.processor import processor_of
from avrec.models.encoders.whisper import WhisperEncoder
from tests.export.media_world import MediaWorld
from tests.models.tiny_encoders import CASES, WHISPER, media


@pytest.mark.parametrize("make", CASES)
def test_every_family_s_processor_does_what_its_graph_does(make, tmp_path: Path) -> None:
    encoder: MediaEncoder = make()
    write_preprocessing({"it": encoder}, tmp_path)
    folder = tmp_path / "preprocessing" / "it"
    clips = media(encoder, 3, seed=4)[:, 0]
    expected = encoder.trunk.preprocess(clips, torch.ones(3)).numpy()
    if encoder.kind == "audio":
        processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        options = {"padding": "do_not_pad"} if isinstance(processor, transformers.WhisperFeatureExtractor) else {}
        found = processor(list(clips.numpy()), sampling_rate=16_000, return_tensors="np", **options)
        values = found["input_features" if "input_features" in found else "input_values"]
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        pictures = [list(clip) for clip in clips.permute(0, 1, 4, 2, 3).numpy()]
        if isinstance(processor, transformers.VideoMAEImageProcessor):
            values = np.asarray(processor(pictures, return_tensors="np")["pixel_values"])
        else:
            values = np.stack([np.asarray(processor(clip, return_tensors="np")["pixel_values"]) for clip in pictures])
    assert values.shape == expected.shape
    np.testing.assert_allclose(values, expected, atol=2e-4)


def test_a_bundle_s_processors_take_what_its_clips_are(media_world: MediaWorld) -> None:
    folder = media_world.folder / "preprocessing"
    audio = transformers.AutoFeatureExtractor.from_pretrained(folder / "audio")
    video = transformers.AutoImageProcessor.from_pretrained(folder / "video")
    assert audio.sampling_rate == 16_000 and dict(video.size) == {"height": 24, "width": 32}
    assert video.do_center_crop is False
    assert "mel_filters" not in (folder / "audio" / "preprocessor_config.json").read_text()
    clips = media_world.clips["video"].values[26:27, 0]
    graph = media_world.model.item_tower.encoders["video"].trunk.preprocess(torch.from_numpy(clips), torch.ones(1))
    found = video(list(clips[0].transpose(0, 3, 1, 2)), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(found, graph[0].numpy(), atol=1e-5)


def test_whisper_pads_to_the_clip_where_it_is_whole_seconds(tmp_path: Path) -> None:
    config = transformers.WhisperConfig(**WHISPER).to_dict()
    processor = transformers.WhisperFeatureExtractor(feature_size=12).to_dict()
    encoder = WhisperEncoder(Checkpoint(config, processor, "r"), "nowhere", AudioSpec(clip_sec=2.0), 8, 4)
    write_json(tmp_path / "preprocessor_config.json", processor_of(encoder).to_dict())
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    short = np.sin(np.arange(16_000) / 9).astype(np.float32)
    found = extractor(short, sampling_rate=16_000, return_tensors="np")["input_features"]
    padded = torch.from_numpy(np.pad(short, (0, 16_000)))[None]
    np.testing.assert_allclose(found, encoder.trunk.preprocess(padded, torch.tensor([0.5])).numpy(), atol=2e-4)


def test_an_unknown_family_is_said(media_world: MediaWorld) -> None:
    with pytest.raises(NotImplementedError, match="no processor is known for Linear"):
        processor_of(torch.nn.Linear(1, 1))
