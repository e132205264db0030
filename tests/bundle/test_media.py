"""Uploads: raw clips and media files to vectors, and everything that can be wrong with them."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from avrec.bundle import embedder as embedder_module
from avrec.bundle import media_specs, uploads
from avrec.bundle.content import RawClips, half_precision
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.bundle.verify import verify
from avrec.core.clips import AudioSpec, Clips, VideoSpec
from avrec.core.errors import ArtefactError, AvrecError, DataError
from avrec.media.isolation import Job, Outcome
from avrec.media.limits import Limits
from tests.bundle.test_reader import edit
from tests.export.media_world import TEXT_DIM, MediaWorld, path, specs
from tests.export.world import ID_DIM, World

COLD = [26, 27, 28]


@pytest.fixture(scope="module")
def served(media_world: MediaWorld) -> Recommender:
    return Recommender(Bundle.open(media_world.folder))


@pytest.fixture
def folder(media_world: MediaWorld, tmp_path: Path) -> Path:
    return Path(shutil.copytree(media_world.folder, tmp_path / "bundle"))


def content_of(world: MediaWorld, items: list[int]) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    masks = {name: feature.present[items] for name, feature in world.dataset.features.items()}
    clips = {name: RawClips(found.values[items], found.valid[items]) for name, found in world.clips.items()}
    return {"text": world.dataset.features["text"].values[items], **clips}, masks


def test_the_manifest_says_what_is_cut_out_of_a_file(media_world: MediaWorld) -> None:
    manifest = json.loads((media_world.folder / "manifest.json").read_text())
    assert manifest["media"] == {
        "audio": {"kind": "audio", "sample_rate_hz": 16000, "clip_sec": 0.48, "num_clips": 2},
        "video": {
            "kind": "video",
            "num_frames": 5,
            "height_px": 24,
            "width_px": 32,
            "clip_sec": None,
            "num_clips": 1,
            "sampling": "exact",
            "decoder": "av",
        },
    }
    assert manifest["feature_dims"] == {"text": 5} and manifest["modalities"] == ["text", "audio", "video"]
    audio, video = specs()
    assert Bundle.open(media_world.folder).manifest.media == {"audio": audio, "video": video}


def test_every_field_of_a_spec_travels() -> None:
    for spec, types in ((AudioSpec, media_specs._AUDIO), (VideoSpec, media_specs._VIDEO)):
        assert [field.name for field in fields(spec)] == list(types)


def test_a_cold_item_embeds_from_raw_clips_to_its_rows_of_the_tables(
    media_world: MediaWorld, served: Recommender
) -> None:
    item, history, share = served.embed_items(*content_of(media_world, COLD))
    np.testing.assert_allclose(item, served.bundle.item_vectors[COLD], atol=1e-5)
    np.testing.assert_allclose(history, served.bundle.history_vectors[COLD], atol=1e-5)
    np.testing.assert_allclose(share, media_world.scorer.share[COLD], atol=1e-5)
    assert history[:, :ID_DIM].any(axis=1).all()


def test_files_embed_to_the_same_rows(media_world: MediaWorld, served: Recommender) -> None:
    """Decoded in child processes from files, against tables that were made in PyTorch from clips kept in half precision."""
    text = {"text": media_world.dataset.features["text"].values[COLD]}
    assert media_world.dataset.features["text"].present[COLD].all()
    paths = {name: media_world.paths(name, COLD) for name in ("audio", "video")}
    assert paths == {"audio": ["2.mp4", "3.mp4", "4.mp4"], "video": [None, None, None]}
    found = served.embed_files(paths, media_world.media_root, text)
    assert found.problems == ()
    np.testing.assert_allclose(found.item_vectors, served.bundle.item_vectors[COLD], atol=1e-5)
    np.testing.assert_allclose(found.history_vectors, served.bundle.history_vectors[COLD], atol=1e-5)
    np.testing.assert_allclose(found.shares, media_world.scorer.share[COLD], atol=1e-5)


def test_a_file_that_fails_is_named_and_the_others_go_on(
    media_world: MediaWorld, served: Recommender, tmp_path: Path
) -> None:
    shutil.copytree(media_world.media_root, tmp_path / "media")
    (tmp_path / "media" / "text.mp4").write_text("no film")
    both = ["0.mp4", "text.mp4", "1.mp4", "../secret.mp4"]
    found = served.embed_files({"audio": both, "video": ["0.mp4", "1.mp4", None, "gone.mp4"]}, tmp_path / "media")
    assert [(note.row, note.modality, note.path, note.kind) for note in found.problems] == [
        (1, "audio", "text.mp4", "unreadable"),
        (3, "audio", "../secret.mp4", "forbidden"),
        (3, "video", "gone.mp4", "missing"),
    ]
    assert str(found.problems[1]) == f"row 3, audio: forbidden: {found.problems[1].text}" and found.problems[1].text
    whole = served.embed_files(
        {"audio": ["0.mp4", None, "1.mp4"], "video": ["0.mp4", "1.mp4", None]}, tmp_path / "media"
    )
    np.testing.assert_allclose(found.item_vectors[:3], whole.item_vectors, atol=1e-6)
    assert (found.shares[:, 0] == 0).all()
    assert (found.shares[:, 1] > 0).tolist() == [True, False, True, False]
    assert (found.shares[:, 2] > 0).tolist() == [True, True, False, False]
    assert np.isfinite(found.item_vectors).all() and not found.history_vectors[3, :ID_DIM].any()


def test_many_files_are_decoded_and_embedded_in_blocks(
    media_world: MediaWorld, served: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str | None] = [f"{index % 6}.mp4" for index in range(9)]
    names[4], names[7] = None, "gone.mp4"
    whole = served.embed_files({"video": names}, media_world.media_root, num_workers=2)
    sizes = []
    run = served._embedder._tower.run
    monkeypatch.setattr(served._embedder._tower, "run", lambda inputs: sizes.append(len(inputs["bias"])) or run(inputs))
    for module in (embedder_module, uploads):
        monkeypatch.setattr(module, "MAX_MEDIA_ITEMS", 2)
    found = served.embed_files({"video": names}, media_world.media_root)
    assert sizes == [2, 2, 2, 2, 1]
    assert (
        [(note.row, note.kind) for note in found.problems]
        == [(7, "missing")]
        == [(note.row, note.kind) for note in whole.problems]
    )
    np.testing.assert_allclose(found.item_vectors, whole.item_vectors, atol=1e-6)
    np.testing.assert_array_equal(found.item_vectors[6], found.item_vectors[0])  # one file, twice
    assert not np.array_equal(found.item_vectors[1], found.item_vectors[0])


class Reserved:
    """A pool whose files are all usable with a reservation; outcomes come in any order."""

    def __init__(self, *arguments: object, specs: Iterable[AudioSpec | VideoSpec]) -> None:
        assert {type(spec) for spec in specs} == {AudioSpec, VideoSpec}

    def __enter__(self) -> "Reserved":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def decode(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        for job in reversed(list(jobs)):
            values = np.full(job.spec.shape, 0.1 * (job.index + 1), np.float32)
            yield Outcome(
                job.index, Clips(values, np.ones(job.spec.num_clips, np.float32), (f"short: {job.path}",)), None
            )


def test_a_reservation_is_noted_and_an_outcome_finds_its_row(
    served: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "DecodePool", Reserved)
    found = served.embed_files({"audio": ["a", None, "b"]}, tmp_path)
    assert found.notes == (
        uploads.FileNote(0, "audio", "a", "note", "short: a"),
        uploads.FileNote(2, "audio", "b", "note", "short: b"),
    )
    assert found.problems == ()
    sound = np.stack([np.full((2, 7680), 0.1 * (row + 1), np.float32) for row in (0, 2)])
    alone = served.embed_items({"audio": RawClips(sound, np.ones((2, 2), np.float32))})
    np.testing.assert_allclose(found.item_vectors[[0, 2]], alone[0], atol=1e-6)


def test_the_limits_of_a_file_are_the_callers(media_world: MediaWorld, served: Recommender) -> None:
    limits = Limits(max_duration_sec=0.1)
    refused = served.embed_files({"audio": ["0.mp4"]}, media_world.media_root, limits=limits)
    assert [note.kind for note in refused.problems] == ["too_large"]


def test_sound_is_heard_in_half_precision_as_in_training(
    media_world: MediaWorld, served: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    run = served._embedder._tower.run
    monkeypatch.setattr(served._embedder._tower, "run", lambda inputs: given.append(inputs) or run(inputs))
    sound = np.random.default_rng(0).normal(0, 0.2, (2, 2, 7680)).astype(np.float32)
    valid = np.ones((2, 2), np.float32)
    pictures = media_world.clips["video"].values[:2]
    content = {"audio": RawClips(sound, valid), "video": RawClips(pictures, valid[:, :1])}
    first = served.embed_items(content)
    second = served.embed_items(content | {"audio": RawClips(sound.astype(np.float16), valid)})
    assert given[0]["clips_audio"].dtype == np.float32
    np.testing.assert_array_equal(given[0]["clips_audio"], sound.astype(np.float16).astype(np.float32))
    assert not np.array_equal(given[0]["clips_audio"], sound)
    np.testing.assert_array_equal(given[0]["clips_video"], pictures)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(half_precision(np.array([1 / 3])), np.float32(np.float16(1 / 3)))


def test_blocks_change_nothing(media_world: MediaWorld, served: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    content, masks = content_of(media_world, list(range(20, 29)))
    whole = served.embed_items(content, masks)
    monkeypatch.setattr(embedder_module, "MAX_MEDIA_ITEMS", 4)
    for one, other in zip(whole, served.embed_items(content, masks), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    none = {
        name: found[:0] if name == "text" else RawClips(*(part[:0] for part in found))
        for name, found in content.items()
    }
    assert [array.shape for array in served.embed_items(none)] == [(0, ID_DIM + 25), (0, ID_DIM + 24), (0, 3)]


def test_what_a_masked_row_holds_does_not_matter(media_world: MediaWorld, served: Recommender) -> None:
    content, _ = content_of(media_world, [26, 27])
    masks = {"audio": np.array([True, False])}
    audio = content["audio"]
    bad = RawClips(audio.values.astype(np.float32).copy(), audio.valid.copy())
    bad.values[1], bad.valid[1] = np.nan, 7
    first = served.embed_items({"audio": audio}, masks)
    for one, other in zip(first, served.embed_items({"audio": bad}, masks), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first[2].tolist() == [[0, 1, 0], [0, 0, 0]]


ONES = np.ones((2, 2), np.float32)
SOUND = np.zeros((2, 2, 7680), np.float32)


def with_value(value: float) -> np.ndarray:
    sound = SOUND.copy()
    sound[1, 1, 7] = value
    return sound


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"audio": np.zeros((2, 5), np.float32)}, "modality 'audio' comes as a ndarray; this bundle takes RawClips"),
        ({"text": RawClips(SOUND, ONES)}, r"modality 'text' comes as clips; this bundle takes features \(items, 5\)"),
        ({"audio": RawClips(SOUND[:, 0], ONES)}, r"'audio': clips of shape \(2, 7680\); expected \(items, 2, 7680\)"),
        ({"audio": RawClips(SOUND, ONES[:, :1])}, r"'audio': valid shares of shape \(2, 1\); expected \(items, 2\)"),
        ({"audio": RawClips(SOUND, ONES[:1])}, r"content and masks: \[1, 2\] rows; expected one number of items"),
        ({"audio": RawClips(SOUND.astype(np.int16), ONES)}, "'audio': clips of type int16; expected floats"),
        (
            {"video": RawClips(np.zeros((2, 1, 5, 24, 32, 3), np.float32), ONES[:, :1])},
            "'video': clips of type float32; expected uint8",
        ),
        (
            {"audio": RawClips(with_value(np.nan), ONES)},
            r"'audio' row 1 is not finite, or above 65,504 \(1 such rows\)",
        ),
        ({"audio": RawClips(with_value(-np.inf), ONES)}, r"'audio' row 1 is not finite"),
        ({"audio": RawClips(with_value(65_510), ONES)}, r"'audio' row 1 is not finite, or above 65,504"),
        (
            {"audio": RawClips(SOUND, ONES * 0)},
            r"'audio' row 0 has a valid share that is not above 0 .*\(2 such rows\)",
        ),
        ({"audio": RawClips(SOUND, ONES * 1.5)}, "at most 1"),
        ({"audio": RawClips(SOUND, ONES * np.nan)}, "'audio' row 0 has a valid share"),
    ],
)
def test_clips_that_do_not_fit_are_refused(served: Recommender, content: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        served.embed_items(content)


@pytest.mark.parametrize(
    ("paths", "features", "message"),
    [
        (
            {"smell": ["0.mp4"]},
            {},
            r"modality 'smell' takes no files; those of this bundle that do are \['audio', 'video'\]",
        ),
        ({"text": ["0.mp4"]}, {}, "modality 'text' takes no files"),
        ({"audio": ["0.mp4"]}, {"video": np.zeros((1, 5))}, "modality 'video' takes files; give its paths"),
        ({"audio": ["0.mp4"], "video": [None, "1.mp4"]}, {}, r"paths and features: \[1, 2\] rows"),
        ({"audio": ["0.mp4"]}, {"text": np.zeros((2, TEXT_DIM))}, r"paths and features: \[1, 2\] rows"),
        ({}, {}, "expected one number of items"),
    ],
)
def test_questions_about_files_that_do_not_fit_are_refused(
    media_world: MediaWorld, served: Recommender, paths, features, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        served.embed_files(paths, media_world.media_root, features)


def test_features_beside_files_are_looked_at_as_a_whole(media_world: MediaWorld, served: Recommender) -> None:
    text = np.zeros((40, TEXT_DIM), np.float32)
    text[33] = np.nan
    with pytest.raises(DataError, match=r"modality 'text' row 33 is not finite"):
        served.embed_files({"audio": [None] * 40}, media_world.media_root, {"text": text})


def test_no_files_embed_to_nothing(media_world: MediaWorld, served: Recommender) -> None:
    assert served.embed_files({"audio": []}, media_world.media_root).item_vectors.shape == (0, ID_DIM + 25)


def test_a_bundle_of_features_takes_no_files(attention_world: World) -> None:
    with pytest.raises(AvrecError, match="this bundle takes no media files"):
        Recommender(Bundle.open(attention_world.folder)).embed_files({"audio": ["0.mp4"]}, attention_world.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"media": []}, r"'media' is \[\]; expected a value of type dict"),
        ({"media__audio": 3}, r"'media\.audio' is 3; expected a value of type dict"),
        ({"media__audio__kind": "smell"}, r"'media\.audio\.kind' is 'smell'; expected audio or video"),
        ({"media__audio__kind": "video"}, r"'media\.audio' lacks .*'height_px'"),
        (
            {"media__audio__sample_rate_hz": 16e3},
            r"'media\.audio\.sample_rate_hz' is 16000\.0; expected a value of type int",
        ),
        ({"media__audio__num_clips": 0}, r"'media\.audio' is .*AudioSpec\.num_clips is 0; expected a positive number"),
        ({"media__audio__clip_sec": None}, r"'media\.audio\.clip_sec' is None; expected a value of type float"),
        ({"media__audio__clip_sec": float("inf")}, r"'media\.audio\.clip_sec' is inf; expected a finite number"),
        ({"media__audio__clip_sec": 1e308}, r"'media\.audio' is .*expected numbers that can be read by"),
        ({"media__video__sampling": "random"}, r"'media\.video\.sampling' is 'random'; expected exact or keyframe"),
        ({"media__video__decoder": "eyes"}, r"'media\.video\.decoder' is 'eyes'; expected av or decord"),
        ({"media__video__speed": 2}, r"'media\.video' lacks \[\] and has unknown \['speed'\]"),
        ({"feature_dims__video": 3}, r"'feature_dims' lacks \[\] and has unknown \['video'\]"),
        ({"media": {}}, r"'feature_dims' lacks \['audio', 'video'\]"),
    ],
)
def test_a_manifest_with_other_specs_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ArtefactError, match=rf"manifest\.json: .*{message}"):
        Bundle.open(folder)


def test_a_mutated_spec_opens_or_is_refused(folder: Path) -> None:
    good = (folder / "manifest.json").read_bytes()
    start = good.index(b'"media"')
    stop = good.index(b"}\n  }", start)
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        mutated = bytearray(good)
        for position in draw.integers(start, stop, draw.integers(1, 4)):
            mutated[position] = draw.choice(np.frombuffer(b'0123456789-.eE"{}[],: \xff', np.uint8))
        (folder / "manifest.json").write_bytes(mutated)
        try:
            Recommender(Bundle.open(folder, verify=False)).embed_items({"text": np.zeros((1, TEXT_DIM), np.float32)})
        except AvrecError:
            refused += 1
    assert refused > 100


def test_a_modality_that_nobody_names_is_refused(folder: Path) -> None:
    edit(folder, modalities=["text", "audio"])
    with pytest.raises(ArtefactError, match=r"'media' lacks \[\] and has unknown \['video'\]"):
        Bundle.open(folder)


def test_specs_that_do_not_fit_the_graph_are_refused_before_anything_is_decoded(folder: Path) -> None:
    edit(folder, media__audio__num_clips=1_000_000_000)
    served = Recommender(Bundle.open(folder))
    with pytest.raises(
        ArtefactError, match=r"item_tower\.onnx: takes audio clips of shape \[2, 7680\]; the manifest's"
    ):
        served.embed_files({"audio": ["0.mp4"]}, folder)
    assert re.search(r"takes audio clips of shape", verify(folder).problems[0])


def test_verify_runs_the_tower_on_silence(media_world: MediaWorld) -> None:
    report = verify(media_world.folder)
    assert report.ok, report.problems


def test_a_path_names_an_item(media_world: MediaWorld) -> None:
    assert path(24) == "0.mp4" and (media_world.media_root / path(29)).is_file()
