"""Where encoding starts: from the highest level that stands, with the numbers that the media give."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.core.errors import ArtefactError
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.training.level_plan import ways
from tests.models.tiny_encoders import ast, efficientnet, hubert, videomae, vit, whisper
from tests.training.media_world import NUM_ITEMS
from tests.training.test_media_store import Counted, damage, folders, present, store_of

TOP = 2  # below the last of three blocks
MAKERS = [whisper, efficientnet, vit, hubert, ast, videomae]


def train_top(encoder: MediaEncoder) -> None:
    """As a stage of one block leaves it."""
    with torch.no_grad():
        for value in encoder.trunk.blocks[-1].parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))


def trained(folder: Path, maker=whisper, **options):
    """A store that was filled before the top block was trained, and the encoder after it."""
    encoder = maker()
    store = store_of(encoder, folder, **options)
    store.fill(encoder, [TOP, encoder.pooled_level])
    train_top(encoder)
    return store, encoder


@pytest.mark.parametrize("maker", MAKERS, ids=[maker.__name__ for maker in MAKERS])
def test_steps_after_training_the_top_are_those_from_the_media_but_for_rounding(maker, tmp_path):
    store, encoder = trained(tmp_path / "one", maker, batch_items=4)
    counted = Counted(encoder)
    before = len(store.memory[encoder.kind].asked)
    found = store.steps(encoder)
    assert counted.calls and {call[1:] for call in counted.calls} == {(TOP, encoder.pooled_level)}
    assert len(store.memory[encoder.kind].asked) == before, "no media are read"
    again = maker()
    train_top(again)
    from_media = store_of(again, tmp_path / "two", batch_items=4)
    counted = Counted(again)
    expected = from_media.steps(again)
    assert counted.items == len(present(encoder.kind))
    assert np.abs(found.values - expected.values).max() < 1e-6 * expected.values.max()
    assert np.array_equal(found.present, expected.present)


def test_half_precision_would_not_do(tmp_path):
    """What the docstring of the store says of the tiny encoders: far from what the graph of the media gives."""
    for maker in MAKERS:
        encoder = maker()
        store = store_of(encoder, tmp_path)
        rows = np.array(present(encoder.kind))
        values, valid = store.level(encoder, TOP).read(rows)
        half = values.astype(np.float16).astype(np.float32)
        with torch.no_grad():
            one, other = (encoder.steps(torch.from_numpy(v), torch.from_numpy(valid), TOP) for v in (values, half))
        assert 5e-5 < float((one - other).abs().max() / one.abs().max()) < 1e-3


def test_other_weights_below_start_from_the_media_and_leave_no_cache_behind(tmp_path):
    store, encoder = trained(tmp_path)
    with torch.no_grad():
        next(encoder.trunk.blocks[0].parameters()).add_(0.1)
    counted, before = Counted(encoder), folders(tmp_path)
    store.steps(encoder)
    assert {call[1:] for call in counted.calls} == {(RAW, encoder.pooled_level)}
    assert len(folders(tmp_path)) == len(before) + 1


def test_the_highest_level_that_stands_is_taken(tmp_path):
    encoder = whisper()
    store = store_of(encoder, tmp_path)
    store.fill(encoder, [0, 1, TOP])
    counted = Counted(encoder)
    store.steps(encoder)
    assert {call[1:] for call in counted.calls} == {(TOP, encoder.pooled_level)}
    counted.calls.clear()
    with torch.no_grad():
        next(encoder.trunk.blocks[1].parameters()).add_(0.1)
    store.fill(encoder, [TOP, encoder.pooled_level])
    assert {call[1:] for call in counted.calls} == {(1, TOP), (TOP, encoder.pooled_level)}


def test_a_level_that_lacks_some_items_gives_the_others_and_is_not_written_twice(tmp_path):
    encoder = whisper()
    store = store_of(encoder, tmp_path, batch_items=4)
    rows = np.array(present("audio"))
    whole = store.memory["audio"].present.copy()
    store.memory["audio"].present = whole & (np.arange(NUM_ITEMS) < 9)
    store.fill(encoder, [TOP])
    store.memory["audio"].present = whole
    counted, known = Counted(encoder), rows[rows < 9]
    store.memory["audio"].asked.clear()
    store.fill(encoder, [TOP, encoder.pooled_level])
    assert store.memory["audio"].asked == rows[rows >= 9].tolist()
    assert sum(call[0] for call in counted.calls if call[1:] == (TOP, encoder.pooled_level)) == len(rows)
    (records,) = {path.stat().st_size for path in (tmp_path / "encoded").rglob("*.bin")} - {len(rows) * 4 * 16 * 4}
    assert records == len(rows) * 24 * 16 * 4
    assert len(known) + counted.items == len(rows)
    expected = store_of(whisper(), tmp_path / "whole", batch_items=4).steps(whisper())
    assert np.allclose(store.steps(encoder).values, expected.values, rtol=0, atol=1e-5)


def test_a_damaged_block_below_costs_its_items_the_way_from_the_media(tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.data.record_parts.BLOCK_BYTES", 24 * 16 * 4)
    store, encoder = trained(tmp_path, batch_items=3)
    damage(tmp_path, "audio", TOP, encoder, record=7)
    counted, rows = Counted(encoder), present("audio")
    store.memory["audio"].asked.clear()
    found = store.steps(encoder)
    assert store.memory["audio"].asked == rows[6:9]
    assert {call[1:] for call in counted.calls} == {(TOP, encoder.pooled_level), (RAW, encoder.pooled_level)}
    again = whisper()
    train_top(again)
    expected = store_of(again, tmp_path / "two", batch_items=3).steps(again)
    assert np.array_equal(found.values, expected.values)


def test_a_damaged_index_goes_when_its_records_are_encoded_again(tmp_path):
    encoder = whisper()
    expected = store_of(encoder, tmp_path).steps(encoder).values
    (index,) = (tmp_path / "encoded").rglob("*.parquet")
    index.write_bytes(index.read_bytes()[:-3])
    counted = Counted(encoder)
    store = store_of(encoder, tmp_path)
    assert np.array_equal(store.steps(encoder).values, expected)
    assert counted.items == 15
    assert not index.exists() and not index.with_name(index.name.split(".")[0] + ".bin").exists()


def test_what_another_decoder_gave_is_encoded_anew(tmp_path, monkeypatch):
    encoder = whisper()
    store_of(encoder, tmp_path).steps(encoder)
    monkeypatch.setattr("avrec.data.clip_library.DECODER_VERSION", 2)
    counted = Counted(encoder)
    store_of(encoder, tmp_path).steps(encoder)
    assert counted.items == 15 and len(folders(tmp_path)) == 2


def test_the_room_is_asked_for_before_anything_is_encoded(tmp_path, monkeypatch):
    encoder = whisper()
    store, counted = store_of(encoder, tmp_path), Counted(encoder)
    full = type("Usage", (), {"free": 15 * 24 * 16 * 4})
    monkeypatch.setattr("avrec.data.record_cache.shutil.disk_usage", lambda folder: full)
    with pytest.raises(ArtefactError, match=r"the disk is full: \d+ bytes are needed, 23040 are free"):
        store.fill(encoder, [encoder.pooled_level, 1])
    assert not counted.calls


@pytest.mark.parametrize("part_bytes, parts", [(2**20, 1), (1, 4), (8 * 24 * 16 * 4, 2)])
def test_large_activations_are_stored_in_smaller_parts(part_bytes, parts, tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.training.media_store.PART_BYTES", part_bytes)
    monkeypatch.setattr("avrec.data.record_cache.RecordCache.seal", lambda cache: 0)
    encoder = whisper()
    store_of(encoder, tmp_path, batch_items=4).level(encoder, 1)
    assert len(list((tmp_path / "encoded").rglob("*.bin"))) == parts


def test_ways_group_rows_by_what_they_lack():
    yes = np.ones(5, np.bool_)
    stored = {1: np.array([1, 1, 0, 0, 1], bool), 2: np.array([1, 0, 0, 1, 1], bool), 4: ~yes}
    stored[4][4] = True

    def found(asked):
        return sorted((start, levels, rows.tolist()) for start, levels, rows in ways(stored, asked))

    assert found({4}) == [(RAW, [4], [2]), (1, [4], [1]), (2, [4], [0]), (2, [4], [3])]
    assert found({2, 4}) == [(RAW, [2, 4], [2]), (1, [2, 4], [1]), (2, [4], [0]), (2, [4], [3])]
    assert found({1}) == [(RAW, [1], [2]), (RAW, [1], [3])]
    assert found(set()) == []
