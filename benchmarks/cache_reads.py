"""Rows a second out of a record cache, beside a raw memory map and one `.npy` file per item.

python benchmarks/cache_reads.py
python benchmarks/cache_reads.py --rows 400000 --dim 512 --batch 256

All three hold the same fp16 rows and get the same random batches, in turns; every turn their results are compared. The cache
is read after `seal`, and every row comes with its valid share. Its first pass over all rows, in which each block is held
against its checksum, is measured too, and so is reading before `seal`. CPU seconds of this process are the ones to trust.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from avrec.data.record_cache import RecordCache

Read = Callable[[np.ndarray], np.ndarray]
CPU, WALL = time.process_time, time.perf_counter


def write_all(folder: Path, values: np.ndarray, num_files: int) -> list[str]:
    """The same rows in the three ways; single files only for the first `num_files`."""
    names = [f"folder/{row}.mp4|1000000|1700000000000000000" for row in range(len(values))]
    cache = RecordCache.open(folder / "cache", {}, values.shape[1:], values.dtype)
    for start in range(0, len(values), 1_000):
        rows = slice(start, start + 1_000)
        cache.append(names[rows], values[rows], np.ones((len(names[rows]), 1), np.float32))
    values.tofile(folder / "raw.bin")
    (folder / "npy").mkdir()
    for row in range(num_files):
        np.save(folder / "npy" / f"{row}.npy", values[row])
    return names


def spent(read: Read, batches: list[np.ndarray]) -> tuple[float, float]:
    """CPU and wall seconds of reading these batches."""
    cpu, wall = CPU(), WALL()
    for batch in batches:
        read(batch)
    return CPU() - cpu, WALL() - wall


def measure(readers: dict[str, Read], batches: list[np.ndarray], turns: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds of every reader in every turn, in alternating order, after one turn to warm up."""
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for turn in range(turns + 1):
        order = list(readers.items())[:: 1 if turn % 2 else -1]
        for name, read in order:
            seconds = spent(read, batches)
            if turn:
                results[name].append(seconds)
        first = next(iter(readers.values()))(batches[0])
        assert all(np.array_equal(read(batches[0]), first) for read in readers.values()), "they do not read the same"
    return results


def show(results: dict[str, list[tuple[float, float]]], num_rows: int, base: str) -> None:
    """Median rates, and paired ratios to `base`."""
    for name, seconds in results.items():
        cpu, wall = (statistics.median(column) for column in zip(*seconds, strict=True))
        ratios = [there[0] / here[0] for here, there in zip(seconds, results[base], strict=True)]
        print(
            f"{name:28}{num_rows / cpu / 1e3:10,.0f}{num_rows / wall / 1e3:10,.0f}{statistics.median(ratios):12.2f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"rows": 100_000, "dim": 512, "batch": 256, "batches": 400, "turns": 15, "files": 10_000}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    values = rng.standard_normal((arguments.rows, arguments.dim), dtype=np.float32).astype(np.float16)
    print(f"python {sys.version.split()[0]}  " + "  ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow")))
    print(
        f"{arguments.rows:,} rows x {arguments.dim}-d fp16, batches of {arguments.batch} random ids, medians of turns"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_all(folder, values, arguments.files)
        batches = [rng.integers(0, arguments.rows, arguments.batch) for _ in range(arguments.batches)]
        few = [rng.integers(0, arguments.files, arguments.batch) for _ in range(max(1, arguments.batches // 40))]
        raw = np.memmap(folder / "raw.bin", np.float16, mode="r", shape=values.shape)
        cache = RecordCache.open(folder / "cache", {}, values.shape[1:], values.dtype)
        unsealed = cache.reader(names)
        start = WALL()
        merged = cache.seal()
        print(f"seal: {merged} parts, {values.nbytes / 2**20:,.0f} MiB in {WALL() - start:.2f} s")
        sealed = cache.reader(names)
        every = np.array_split(rng.permutation(arguments.rows), -(-arguments.rows // arguments.batch))
        first, plain = spent(sealed.read, every)[0], spent(lambda idx: raw[idx], every)[0]
        readers: dict[str, Read] = {
            "raw memory map": lambda idx: np.asarray(raw[idx]),
            "record cache, sealed": lambda idx: sealed.read(idx)[0],
            "record cache, before seal": lambda idx: unsealed.read(idx)[0],
        }
        singles: dict[str, Read] = {
            "one .npy per item": lambda idx: np.stack([np.load(folder / "npy" / f"{row}.npy") for row in idx]),
            "record cache, sealed": readers["record cache, sealed"],
        }
        print(f"{'':28}{'k rows/CPU s':>12}{'/wall s':>8}{'ratio':>12}")
        show(measure(readers, batches, arguments.turns), arguments.batches * arguments.batch, "raw memory map")
        show(measure(singles, few, arguments.turns), len(few) * arguments.batch, "one .npy per item")
        print(f"first pass over every row, checksums included: {plain / first:.2f} of the raw memory map's rate")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
