"""Filling a cache on an accelerator: the encoder is lent for that time, computes in float32, and comes back as it was."""

import numpy as np
import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.training.device import fill_device, lent, single_precision
from avrec.training.media_store import encode
from tests.models.tiny_encoders import whisper
from tests.training.test_media_store import Counted, damage, present, store_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Journey:
    """What happens to an encoder, in order: where it is moved to (it stays where it is), and that it encodes."""

    def __init__(self, encoder, fail: Exception | None = None) -> None:
        self.events: list[str] = []
        encoder.level_shape(0)
        encode = encoder.encode

        def counted(*arguments):
            self.events.append("encode")
            if fail is not None:
                raise fail
            return encode(*arguments)

        encoder.to = lambda device: self.events.append(str(device))
        encoder.encode = counted


def lending_store(encoder, folder, **options):
    store = store_of(encoder, folder, **options)
    store.device = CUDA
    return store


def test_an_encoder_is_on_the_device_while_it_fills_and_nowhere_else(tmp_path):
    encoder = whisper()
    store, journey = lending_store(encoder, tmp_path, batch_items=8), Journey(encoder)
    found = store.steps(encoder)
    assert journey.events == ["cuda", "encode", "encode", "cpu"]
    assert np.array_equal(found.values, store_of(whisper(), tmp_path / "home", batch_items=8).steps(whisper()).values)
    store.steps(encoder)
    store.fill(encoder, [encoder.pooled_level])
    assert len(journey.events) == 4, "nothing is missing, so nothing moves"


def test_a_mended_block_is_encoded_on_the_device_too(tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.data.record_parts.BLOCK_BYTES", 24 * 16 * 4)
    encoder = whisper()
    store = lending_store(encoder, tmp_path)
    store.device = CPU
    store.level(encoder, 1)
    damage(tmp_path, "audio", 1, encoder, record=3)
    store = lending_store(encoder, tmp_path)
    reader, journey = store.level(encoder, 1), Journey(encoder)
    reader.read(np.array(present("audio")))
    assert journey.events == ["cuda", "encode", "cpu"]


def test_it_comes_back_from_a_filling_that_breaks(tmp_path):
    encoder = whisper()
    store, journey = lending_store(encoder, tmp_path), Journey(encoder, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        store.steps(encoder)
    assert journey.events == ["cuda", "encode", "cpu"]


def test_a_device_that_is_too_small_says_what_to_do(tmp_path):
    encoder = whisper()
    store, journey = lending_store(encoder, tmp_path), Journey(encoder, torch.OutOfMemoryError("17 GiB"))
    with pytest.raises(
        ConfigError, match=r"more memory than cuda has free\. Lower media\.batch_items, or .*device=cpu"
    ):
        store.steps(encoder)
    assert journey.events[-1] == "cpu"


def test_one_on_an_accelerator_stays_there_and_one_at_home_does_not_move(monkeypatch):
    away = torch.nn.Linear(2, 2, device="meta")
    monkeypatch.setattr(away, "to", lambda device: pytest.fail("it was moved"))
    with lent(away, CPU), lent(away, CUDA):
        pass
    here = torch.nn.Linear(2, 2)
    monkeypatch.setattr(here, "to", lambda device: pytest.fail("it was moved"))
    with lent(here, CPU):
        pass


@pytest.mark.parametrize("name, there, expected", [("auto", 1, "cuda"), ("gpu", 1, "cuda"), ("auto", 0, "cpu")])
def test_the_accelerator_is_chosen_where_there_is_one(name, there, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(there))
    assert fill_device(name) == torch.device(expected)


def test_a_device_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [fill_device(name) for name in ("cpu", "cuda", "cuda:1")] == [CPU, CUDA, torch.device("cuda:1")]
    with pytest.raises(
        ConfigError, match=r"media\.device is 'cuda:2'; PyTorch sees 2 CUDA devices\. Give media\.device"
    ):
        fill_device("cuda:2")
    with pytest.raises(ConfigError, match=r"media\.device is 'tpuu', which is no device of PyTorch\. Give auto, cpu"):
        fill_device("tpuu")


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled("cpu")


@pytest.fixture
def coarse():
    """The precision that somebody who trains fast has set."""
    before = flags()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    with torch.autocast("cpu", torch.bfloat16):
        yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_what_is_kept_is_computed_in_float32_inside_a_run_that_is_not(coarse):
    encoder = whisper()
    seen = []
    encoder.trunk.norm.register_forward_hook(lambda *_: seen.append(flags()))
    media = torch.randn(2, *encoder.spec.shape).numpy(), np.ones((2, 1), np.float32)
    found = encode(encoder, *media, -1, encoder.pooled_level)
    assert seen == [("highest", False, False)]
    assert flags() == ("medium", True, True)
    assert found.dtype == torch.float32
    with torch.no_grad():
        rounded = encoder.steps(torch.from_numpy(media[0]))
    with torch.autocast("cpu", enabled=False), torch.no_grad():
        torch.set_float32_matmul_precision("highest")
        exact = encoder.steps(torch.from_numpy(media[0]))
    assert torch.equal(found, exact) and not torch.equal(rounded.float(), exact)


def test_precision_is_set_back_after_an_error(coarse):
    with pytest.raises(KeyboardInterrupt), single_precision("cpu"):
        raise KeyboardInterrupt
    assert flags() == ("medium", True, True)


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: that a real one gives the same is not tested"
)
def test_a_real_device_gives_what_the_processor_gives(tmp_path):
    encoder = whisper()
    counted = Counted(encoder)
    store = lending_store(encoder, tmp_path / "one")
    found = store.steps(encoder).values
    assert counted.items == 15 and next(encoder.parameters()).device == CPU
    expected = store_of(whisper(), tmp_path / "two").steps(whisper()).values
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
