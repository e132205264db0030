"""Several processes at one cache, and real `kill -9` at random moments."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from avrec.data.record_cache import RecordCache

NAMES = [f"item {number}" for number in range(300)]
SHAPE = (64,)

# Fills what is missing in its own order, a few records at a time, and seals now and then; one line a step.
CHILD = """
import sys
import numpy as np
from avrec.data.record_cache import RecordCache
folder, seed = sys.argv[1], int(sys.argv[2])
names = [f"item {number}" for number in range(300)]
cache = RecordCache.open(folder, {"a": 1}, (64,), "float16", 1)
rng = np.random.default_rng(seed)
todo = rng.permutation(cache.missing(names))
for start in range(0, len(todo), 5):
    rows = todo[start : start + 5]
    values = np.repeat(rows[:, None], 64, axis=1).astype(np.float16)
    cache.append([names[row] for row in rows], values, np.ones((len(rows), 1), np.float32))
    if rng.random() < 0.1:
        cache.seal()
    print(start, flush=True)
"""


def start(folder, seed):
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(seed)], stdout=subprocess.PIPE)


def kill_after(child, lines, delay_sec):
    """SIGKILL once the child has told of so many steps, and a moment later."""
    for _ in range(lines):
        if not child.stdout.readline():
            break
    time.sleep(delay_sec)
    child.send_signal(signal.SIGKILL)
    child.communicate()


def finish(*children):
    for child in children:
        child.communicate()
        assert child.returncode == 0


def opened(folder):
    return RecordCache.open(folder, {"a": 1}, SHAPE, "float16", 1)


def assert_sound(cache):
    """Whatever is there is whole; returns how many."""
    reader = cache.reader(NAMES)
    held = np.flatnonzero(reader.present)
    values, valid = reader.read(held)
    np.testing.assert_array_equal(values, np.repeat(held[:, None], 64, axis=1).astype(np.float16))
    assert (valid == 1).all() and reader.damaged() == [] and cache.unreadable == {}
    return len(held)


def assert_complete(folder):
    """Every row once, none lost, nothing left behind."""
    cache = opened(folder)
    assert assert_sound(cache) == len(NAMES) and len(cache.missing(NAMES)) == 0
    cache.seal()
    assert assert_sound(cache) == len(NAMES)
    files = sorted(path.name for path in (folder / "parts").iterdir())
    assert len(files) == 2, files
    assert sum(path.stat().st_size for path in (folder / "parts").glob("*.bin")) == len(NAMES) * 64 * 2


def kills(folder, rounds, seed):
    rng = np.random.default_rng(seed)
    for number in range(rounds):
        before = assert_sound(opened(folder))
        kill_after(start(folder, number), int(rng.integers(0, 8)), float(rng.random() * 0.02))
        assert assert_sound(opened(folder)) >= before
    finish(start(folder, 99))
    assert_complete(folder)


def rival_writers(folder, seed):
    rng = np.random.default_rng(seed)
    children = [start(folder, 10 * seed + number) for number in range(4)]
    for child in children[:2]:
        kill_after(child, int(rng.integers(1, 10)), float(rng.random() * 0.02))
        assert_sound(opened(folder))
    finish(*children[2:])
    assert_complete(folder)


def test_a_writer_killed_at_8_moments_loses_and_repeats_nothing(tmp_path):
    kills(tmp_path, 8, 0)


def test_of_four_writers_two_are_killed(tmp_path):
    rival_writers(tmp_path, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_rounds_of_kills_and_rivals(tmp_path):
    for seed in range(1, 21):
        rival_writers(tmp_path / str(seed), seed)
    kills(tmp_path / "kills", 20, 1)
