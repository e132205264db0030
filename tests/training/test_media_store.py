"""The store: what is frozen is encoded once, found again by what went into it, and mended where it is damaged."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.core.dataset import Dataset, MediaColumn
from avrec.core.errors import ConfigError
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.encode import encoded
from avrec.models.encoders.base import RAW, MediaEncoder
from avrec.training.media_store import MediaStore, media_encoders, with_steps
from avrec.training.stages import boundaries
from tests.models.tiny_encoders import efficientnet, vit, whisper
from tests.training.media_world import (
    LACKS,
    NUM_ITEMS,
    Memory,
    MemoryStore,
    encoder_stage,
    make_world,
    media_dataset,
    media_model,
)
from tests.training.world import adam, make_stage

ENCODERS = [pytest.param(whisper, id="whisper"), pytest.param(vit, id="vit"), pytest.param(efficientnet, id="effnet")]


class Counted:
    """An encoder's calls of `encode`: items, level from, level to."""

    def __init__(self, encoder: MediaEncoder, fail_at: int | None = None) -> None:
        self.calls: list[tuple[int, int, int]] = []
        encoder.level_shape(0)  # it measures its shapes by encoding once
        encode = encoder.encode

        def counted(values, level_from, level_to, valid=None):
            if len(self.calls) == fail_at:
                raise KeyboardInterrupt
            self.calls.append((len(values), level_from, level_to))
            return encode(values, level_from, level_to, valid)

        encoder.encode = counted

    @property
    def items(self) -> int:
        return sum(count for count, level_from, _ in self.calls if level_from == RAW)


def store_of(encoder: MediaEncoder, folder: Path, **options) -> MemoryStore:
    dataset = media_dataset()
    return MemoryStore(
        dataset, folder, {encoder.kind: Memory.of(encoder, dataset.media[encoder.kind], seed=4)}, **options
    )


def folders(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "encoded").iterdir())


def present(kind: str) -> list[int]:
    return [item for item in range(NUM_ITEMS) if item not in LACKS[kind]]


@pytest.fixture
def blocks_of_three(monkeypatch):
    """Three records of a level of tiny Whisper, (1, 24, 16), under one checksum."""
    monkeypatch.setattr("avrec.data.record_parts.BLOCK_BYTES", 3 * 24 * 16 * 4)


@pytest.mark.parametrize("maker", ENCODERS)
@pytest.mark.parametrize("clips", [1, 2])
def test_every_level_holds_what_the_encoder_gives(maker, clips, tmp_path):
    encoder = maker(clips)
    store = store_of(encoder, tmp_path, batch_items=NUM_ITEMS)
    memory, rows = store.memory[encoder.kind], np.array(present(encoder.kind))
    values, valid = torch.from_numpy(memory.values[rows]), torch.from_numpy(memory.valid[rows])
    for level in range(encoder.pooled_level + 1):
        reader = store.level(encoder, level)
        assert np.flatnonzero(reader.present).tolist() == rows.tolist()
        found, shares = reader.read(rows[::-1])
        assert np.array_equal(shares, memory.valid[rows[::-1]])
        with torch.no_grad():
            expected = encoder.encode(values.float() if encoder.kind == "audio" else values, RAW, level, valid)
        expected = expected.numpy()[::-1]
        assert found.shape[1:] == encoder.level_shape(level)
        assert found.dtype == np.float32 and np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()
    assert store.level(encoder, RAW) is memory


@pytest.mark.parametrize("maker", ENCODERS)
def test_steps_are_the_encoders_own_and_absent_items_are_zero_and_masked(maker, tmp_path):
    encoder = maker(2)
    store = store_of(encoder, tmp_path, batch_items=NUM_ITEMS)
    found, memory, rows = store.steps(encoder), store.memory[encoder.kind], present(encoder.kind)
    with torch.no_grad():
        expected = encoder.steps(torch.from_numpy(memory.values[rows]), torch.from_numpy(memory.valid[rows])).numpy()
    assert found.values.shape == (NUM_ITEMS, *encoder.feature_shape) and found.values.dtype == np.float32
    assert np.array_equal(found.values[rows], expected)
    assert np.abs(expected).min(axis=(1, 2)).all()
    assert np.flatnonzero(~found.present).tolist() == list(LACKS[encoder.kind])
    assert not found.values[~found.present].any()


def test_a_data_set_gets_the_steps_of_its_media_beside_its_features(tmp_path):
    dataset = media_dataset()
    model = media_model(dataset)
    memory = {name: Memory.of(encoder, dataset.media[name]) for name, encoder in media_encoders(model).items()}
    found = with_steps(dataset, model, MemoryStore(dataset, tmp_path, memory))
    assert {name: feature.values.shape for name, feature in found.features.items()} == {
        "audio": (18, 4, 16),
        "video": (18, 4, 16),
    }
    assert not dataset.features
    assert with_steps(dataset, model, None).features == {}


def test_a_second_store_encodes_nothing_and_reads_no_media(tmp_path):
    first = whisper()
    store = store_of(first, tmp_path)
    counted = Counted(first)
    expected = store.steps(first)
    assert counted.items == 15
    assert store.rates.items["encode", "audio"] == store.rates.items["preprocess", "audio"] == 15
    second = whisper()
    store, counted = store_of(second, tmp_path), Counted(second)
    found = store.steps(second)
    assert np.array_equal(found.values, expected.values) and np.array_equal(found.present, expected.present)
    store.level(second, second.pooled_level)
    assert not counted.calls
    assert not store.memory["audio"].asked
    assert not store.rates.items


def test_all_levels_are_stored_in_one_pass_over_the_media(tmp_path):
    encoder = whisper()
    store, counted = store_of(encoder, tmp_path, batch_items=4), Counted(encoder)
    store.fill(encoder, [encoder.pooled_level, 1, 2])
    assert sorted(store.memory["audio"].asked) == present("audio")
    ways = {(level_from, level_to) for _, level_from, level_to in counted.calls}
    assert ways == {(RAW, 1), (1, 2), (2, encoder.pooled_level)}
    assert len(folders(tmp_path)) == 3
    store.level(encoder, 1)
    store.steps(encoder)
    assert len(counted.calls) == 12


def test_other_weights_below_a_level_are_another_cache_and_those_above_are_not(tmp_path):
    encoder = whisper()
    store, top = store_of(encoder, tmp_path), whisper().num_blocks
    store.fill(encoder, [1, encoder.pooled_level])
    before = folders(tmp_path)
    assert len(before) == 2

    with torch.no_grad():
        next(encoder.trunk.blocks[top - 1].parameters()).add_(0.1)
        encoder.head.project.weight.add_(1.0)
        encoder.preprocess.mean_F.add_(1.0)
    counted = Counted(encoder)
    store.level(encoder, 1)
    assert not counted.calls and folders(tmp_path) == before
    changed = store.steps(encoder)
    assert {call[1:] for call in counted.calls} == {(1, encoder.pooled_level)} and len(folders(tmp_path)) == 3
    old = store_of(whisper(), tmp_path).steps(whisper())
    assert not np.array_equal(changed.values, old.values)

    with torch.no_grad():
        next(encoder.trunk.blocks[0].parameters()).add_(0.1)
    assert not counted.items
    store.level(encoder, 1)
    assert counted.items == 15 and len(folders(tmp_path)) == 4


def test_a_broken_filling_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.setattr("avrec.training.media_store.PART_BLOCKS", 2)
    encoder = whisper()
    store, counted = store_of(encoder, tmp_path, batch_items=2), Counted(encoder, fail_at=5)
    with pytest.raises(KeyboardInterrupt):
        store.steps(encoder)
    assert counted.items == 10
    again = whisper()
    store, counted = store_of(again, tmp_path, batch_items=2), Counted(again)
    found = store.steps(again)
    assert counted.items == 15 - 8  # two parts of two blocks of two items were stored
    assert sorted(store.memory["audio"].asked) == present("audio")[8:]
    whole = store_of(whisper(), tmp_path / "whole", batch_items=2).steps(whisper())
    assert np.array_equal(found.values, whole.values)


def damage(folder: Path, kind: str, level: int, encoder: MediaEncoder, record: int) -> None:
    """Flip a bit in the middle of a record of a level's cache."""
    shape = encoder.level_shape(level)
    size = int(np.prod(shape)) * 4
    (path,) = [
        path
        for path in (folder / "encoded").glob(f"{kind}-*/parts/*.bin")
        if path.stat().st_size == size * len(present(kind))
    ]
    content = bytearray(path.read_bytes())
    content[record * size + size // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_damaged_block_is_encoded_again_alone(pooled, tmp_path, monkeypatch):
    encoder = whisper()
    level = encoder.pooled_level if pooled else 1
    size = 4 * 16 * 4 if pooled else 24 * 16 * 4
    monkeypatch.setattr("avrec.data.record_parts.BLOCK_BYTES", 3 * size)
    rows = np.array(present("audio"))
    expected = store_of(encoder, tmp_path).level(encoder, level).read(rows)[0].copy()
    damage(tmp_path, "audio", level, encoder, record=7)
    store, counted = store_of(encoder, tmp_path), Counted(encoder)
    reader = store.level(encoder, level)
    assert not counted.calls
    assert np.array_equal(reader.read(rows[:6])[0], expected[:6])
    assert not counted.calls, "untouched blocks are not looked at"
    assert np.allclose(reader.read(rows[5:9])[0], expected[5:9], atol=1e-5)
    assert store.memory["audio"].asked == rows[6:9].tolist()
    assert np.allclose(reader.read(rows)[0], expected, atol=1e-5)
    assert counted.items == 3
    later, counted = store_of(encoder, tmp_path), Counted(encoder)
    later.level(encoder, level).read(rows)
    assert not counted.calls


def test_mending_in_the_middle_of_a_stage_waits_for_no_other_rank_and_stays_in_its_cache(
    tmp_path, monkeypatch, blocks_of_three
):
    """Ranks read other items, so one of them may mend alone; and a stage may hold its weights in another precision."""
    encoder, rows = whisper(), np.array(present("audio"))
    whole = store_of(encoder, tmp_path).level(encoder, 1).read(rows)[0].copy()
    damage(tmp_path, "audio", 1, encoder, record=0)
    reader = store_of(encoder, tmp_path).level(encoder, 1)

    @contextmanager
    def together():
        raise AssertionError("it waits for the others")
        yield

    monkeypatch.setattr("avrec.training.media_store.first_rank_first", together)
    encoder.double()
    with torch.no_grad():
        next(encoder.trunk.blocks[2].parameters()).add_(1.0)
    found = reader.read(rows)[0]
    assert len(folders(tmp_path)) == 1
    assert np.array_equal(found[3:], whole[3:])
    assert np.allclose(found, whole, atol=1e-5)


def test_a_data_set_without_its_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data.media_root: the data set names media files; give the folder"):
        MediaStore(replace(media_dataset(), media_root=None), tmp_path)


def test_boundaries_are_where_later_stages_start(tmp_path):
    world = make_world(tmp_path)
    joint = make_stage(optimizer=adam())
    one, two = encoder_stage({"audio": 1}), encoder_stage({"audio": 2, "video": "all"})
    assert boundaries(media_encoders(world.model), [joint, one, two]) == {"audio": [1, 2], "video": [RAW]}
    assert boundaries(media_encoders(world.model), [joint]) == {"audio": [], "video": []}
    assert not any(value.requires_grad for name, value in world.model.named_parameters() if ".trunk." in name)
    counts = {name: Counted(world.encoder(name)) for name in ("audio", "video")}
    for path in (tmp_path / "cache" / "encoded").rglob("*.parquet"):
        path.unlink()
    with_steps(media_dataset(), world.model, world.store, boundaries(media_encoders(world.model), [joint, one, two]))
    assert (counts["audio"].items, counts["video"].items) == (15, 16)
    world.store.level(world.encoder("audio"), 2)
    assert counts["audio"].items == 15


# --- real files


NUM_FILES = 5


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """An item with both, one without sound, one without pictures, one that is no media, one whose file has gone."""
    folder = tmp_path_factory.mktemp("files")
    catalogue = Catalogue(seed=1, num_items=NUM_FILES)
    for index, parts in enumerate([(1, 1), (0, 1), (1, 0)]):
        sound = catalogue.sound(index) if parts[0] else None
        film = catalogue.film(index) if parts[1] else None
        (folder / f"{index}.mp4").write_bytes(encoded(sound, film))
    (folder / "3.mp4").write_bytes(b"no media at all" * 50)
    return folder


def file_dataset(folder: Path) -> Dataset:
    """One file serves as sound and as pictures; the last item names none."""
    whole = media_dataset()
    paths = tuple(f"{item}.mp4" if item < NUM_FILES else None for item in range(NUM_ITEMS))
    column = MediaColumn(paths)
    return replace(whole, media={"audio": column, "video": column}, media_root=str(folder))


def test_real_files_become_steps_once(files, tmp_path, capsys):
    dataset = file_dataset(files)
    model = media_model(dataset)
    store = MediaStore(dataset, tmp_path, num_workers=1, max_bad_share=1.0)
    found = with_steps(dataset, model, store)
    assert np.flatnonzero(found.features["audio"].present).tolist() == [0, 2]
    assert np.flatnonzero(found.features["video"].present).tolist() == [0, 1]
    for name, encoder in media_encoders(model).items():
        reader = store.clips(encoder)
        assert store.clips(encoder) is reader
        rows = np.flatnonzero(reader.present)
        values, valid = reader.read(rows)
        assert values.dtype == (np.float16 if name == "audio" else np.uint8) and values.std() > 0
        with torch.no_grad():
            expected = encoder.steps(torch.from_numpy(values), torch.from_numpy(valid)).numpy()
        assert np.allclose(found.features[name].values[rows], expected, rtol=0, atol=1e-6)
        assert store.rates.items["decode", name] == 4
        assert store.rates.items["encode", name] == 2
    out = capsys.readouterr().out
    assert "  audio: 3 files are named in " in out and "media_errors.csv" in out

    again = MediaStore(dataset, tmp_path, num_workers=1, max_bad_share=1.0)
    counts = [Counted(encoder) for encoder in media_encoders(model).values()]
    second = with_steps(dataset, model, again)
    assert not any(count.calls for count in counts) and not again.rates.items
    assert all(np.array_equal(second.features[name].values, found.features[name].values) for name in found.features)
