"""Two ranks on the processor (gloo) are one process on the joined batch."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment

from avrec.data.candidates import FullCatalogue
from avrec.training.ranks import own_ranks
from tests.training.ddp_cases import (
    BATCH_SIZE,
    CASES,
    MEDIA,
    STAGES,
    MediaRecorder,
    Recorder,
    fit_case,
    fit_media,
    quiet,
    sampler_of,
    tiny_model,
    world,
)

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SEC = 100
FAST = ["full softmax, 64-true", "bpr, 32-true"]
SLOW = [name for name in CASES if name not in FAST]
EVERY_CASE = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]

Arrays = dict[str, np.ndarray]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_ranks(names: list[str], folder: Path) -> None:
    """Both ranks through the cases; they are ended when one of them fails or nothing is left of `LIMIT_SEC`."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tests.training.ddp_cases", str(folder), *names]
    processes = []
    for rank in range(2):
        environment = {**os.environ, **shared, "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with open(folder / f"rank {rank}.log", "w") as log:
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    end = time.monotonic() + LIMIT_SEC
    try:
        while time.monotonic() < end and not any(process.poll() for process in processes):
            if all(process.poll() == 0 for process in processes):
                return
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    logs = "\n".join((folder / f"rank {rank}.log").read_text() for rank in range(2))
    pytest.fail(f"the ranks ended with {[process.returncode for process in processes]}\n{logs}")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Arrays]]:
    """What each rank recorded of a case; the fast cases share one start of two processes, and the others another."""

    @cache
    def folder_of(is_fast: bool) -> Path:
        folder = tmp_path_factory.mktemp("ranks")
        run_ranks([*FAST, MEDIA] if is_fast else [*SLOW, STAGES], folder)
        return folder

    def recorded(name: str) -> list[Arrays]:
        folder = folder_of(name in (*FAST, MEDIA))
        return [dict(np.load(folder / f"{name} rank {rank}.npz")) for rank in range(2)]

    return recorded


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Recorder]:
    """The same case in this process."""

    @cache
    def fitted(name: str) -> Recorder:
        with quiet():
            return fit_case(CASES[name], tmp_path_factory.mktemp("alone"), "cpu")

    return fitted


def relative(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The 2-norm of the difference over that of what is expected, everything laid end to end."""
    one, other = (
        np.concatenate([array.astype(np.float64).ravel() for array in arrays]) for arrays in (found, expected)
    )
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def test_the_world_has_a_batch_with_fewer_rows_than_ranks_and_duplicates_over_ranks() -> None:
    sampler = sampler_of(world(), FullCatalogue())
    assert (sampler.num_pairs, sampler.num_batches) == (91, 3)
    assert BATCH_SIZE % 2 == 1
    parts = [[sampler.batch(0, index, rank, 2) for rank in range(2)] for index in range(3)]
    assert [[len(part.user_idx) for part in both] for both in parts] == [[23, 22], [23, 22], [1, 0]]
    assert len(np.intersect1d(parts[0][0].positive, parts[0][1].positive)) > 5


@pytest.mark.parametrize("name", EVERY_CASE)
def test_the_loss_is_that_of_one_process(both, alone, name) -> None:
    ranks, one = both(name), alone(name)
    assert [rank["rows"].tolist() for rank in ranks] == [[23, 23, 1], [22, 22, 0]]
    assert one.rows == [45, 45, 1]
    mean = (ranks[0]["losses"] + ranks[1]["losses"]) / 2  # DDP averages over ranks; training_step multiplies by them
    assert np.allclose(mean, one.losses, rtol=CASES[name].tolerance, atol=1e-12)
    assert min(one.losses[:2]) > 0.5


@pytest.mark.parametrize("name", EVERY_CASE)
def test_the_gradients_are_those_of_one_process(both, alone, name) -> None:
    ranks, one, case = both(name), alone(name), CASES[name]
    names = sorted(key for key in one.arrays if key.startswith("gradient"))
    trainable = [name for name, parameter in tiny_model().named_parameters() if parameter.requires_grad]
    assert names == sorted(f"gradient {step:02d} {parameter}" for step in range(3) for parameter in trainable)
    for found in ranks:
        assert sorted(key for key in found if key.startswith("gradient")) == names
        for step in range(2):  # the last batch is one pair; in-batch it has no negative and so no gradient
            keys = [key for key in names if key.startswith(f"gradient {step:02d}")]
            assert relative([found[key] for key in keys], [one.arrays[key] for key in keys]) < case.tolerance
        if case.precision == "64-true":  # each parameter by itself, however small; in fp32 cancellation shows
            for key in names:
                assert np.abs(found[key] - one.arrays[key]).max() <= 1e-9 * np.abs(one.arrays[key]).max() + 1e-15, key


@pytest.mark.parametrize("name", EVERY_CASE)
def test_the_weights_are_those_of_one_process_and_the_same_on_both_ranks(both, alone, name) -> None:
    first, second = both(name)
    weights = {key: value for key, value in alone(name).arrays.items() if key.startswith("weight")}
    assert len(weights) > 20
    for key, expected in weights.items():
        assert np.array_equal(first[key], second[key]), key
        if expected.dtype.kind == "f":
            size = np.abs(expected).max(initial=0)
            assert np.allclose(first[key], expected, rtol=0, atol=CASES[name].tolerance * size), key


@pytest.mark.slow
def test_a_frozen_stage_and_one_with_dropout_and_averaging_leave_both_ranks_equal(both) -> None:
    """Parameters that are frozen when DDP wraps the first stage are trained in the second, on both ranks alike."""
    first, second = both(STAGES)
    names = [key for key in first if key.startswith(("weight", "final"))]
    assert len(names) > 40
    assert all(np.array_equal(first[key], second[key]) for key in names)
    gradients = {key[12:] for key in first if key.startswith("gradient")}
    assert {"item_table.output_ND", "item_tower.encoders.audio.head.weight"} <= gradients
    assert "item_table.output_ND" not in {key[12:] for key in first if key.startswith("gradient 00")}


# --- with encoders: frozen, from caches, undone, and from the media


@pytest.fixture(scope="module")
def media_alone(tmp_path_factory: pytest.TempPathFactory) -> MediaRecorder:
    """All media stages in this process."""
    with quiet():
        return fit_media(tmp_path_factory.mktemp("media"), "cpu")


def test_ranks_encode_their_share_of_a_batch_some_of_them_nothing(both, media_alone) -> None:
    ranks, one = both(MEDIA), media_alone
    items, whole = [rank["encoded"] for rank in ranks], np.array(one.encoded)
    assert [len(whole), *map(len, items)] == [29] * 3  # 6 of pairs first, 9 of up to 5 items, 14 of up to 2
    trained = whole >= 0
    assert trained.sum(axis=0).tolist() == [23, 20]
    assert np.array_equal((items[0] + items[1])[trained], whole[trained])
    assert ((items[0] != items[1]) & trained).sum() > 10
    assert ((ranks[1]["rows"] == 0) & (items[1] == 0).all(axis=1)).sum() == 2  # a batch of one item
    lacking = [(rows["rows"] > 0) & (have == 0).any(axis=1) for rows, have in zip(ranks, items, strict=True)]
    assert sum(found.sum() for found in lacking) >= 4  # items without sound or without pictures
    assert one.rows == (ranks[0]["rows"] + ranks[1]["rows"]).tolist()


def test_losses_and_gradients_with_encoders_are_those_of_one_process(both, media_alone) -> None:
    ranks, one = both(MEDIA), media_alone
    assert np.allclose((ranks[0]["losses"] + ranks[1]["losses"]) / 2, one.losses, rtol=1e-9, atol=0)
    names = [name for name in one.arrays if name.startswith("gradient")]
    assert len(names) > 1000 and sum(".trunk." in name for name in names) > 400
    for rank in ranks:
        assert [name for name in rank if name.startswith("gradient")] == names
        for name in names:  # the softmax does not change with the bias of the keys, whose gradient is rounding
            difference, size = np.abs(rank[name] - one.arrays[name]).max(), np.abs(one.arrays[name]).max()
            assert difference <= 1e-9 * size + 1e-13, name


def test_after_each_stage_weights_and_bank_are_those_of_one_process_and_the_same_on_both_ranks(
    both, media_alone
) -> None:
    (first, second), one = both(MEDIA), media_alone
    for stage in range(4):
        names = [name for name in one.arrays if name.startswith((f"weight {stage}", f"bank {stage}"))]
        assert len(names) > 100
        for name in names:
            expected = one.arrays[name]
            assert np.array_equal(first[name], second[name]), name
            assert np.allclose(first[name], expected, rtol=0, atol=1e-9 * np.abs(expected).max(initial=0)), name
    moved = {
        stage: {
            name.split(" ", 2)[2]
            for name in first
            if name.startswith(f"weight {stage} ")
            and not np.array_equal(first[name], first[name.replace(f"weight {stage}", f"weight {stage - 1}", 1)])
        }
        for stage in (1, 2, 3)
    }
    trunks = {stage: {name for name in names if ".trunk." in name} for stage, names in moved.items()}
    assert moved[2] == set() and trunks[1] < trunks[3]
    assert [bool(first[f"undone {stage}"]) for stage in range(4)] == [False, False, True, False]
    assert all(np.array_equal(first[f"bank 1 {name}"], first[f"bank 2 {name}"]) for name in ("audio", "video"))
    assert all(not np.array_equal(first[f"bank 2 {name}"], first[f"bank 3 {name}"]) for name in ("audio", "video"))


def test_ranks_end_with_their_job(monkeypatch, tmp_path) -> None:
    """Otherwise the next job of a sweep, in this process, would wait for ranks that are gone."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "7")
    with own_ranks():
        for name, value in (("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_PORT", str(free_port()))):
            os.environ[name] = value
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        assert LightningEnvironment().creates_processes_externally
    assert not torch.distributed.is_initialized()
    assert not LightningEnvironment().creates_processes_externally
    assert os.environ["WORLD_SIZE"] == "7"
    assert "MASTER_PORT" not in os.environ
