"""The top of a whole catalogue for many users, beside implicit's `topk`.

python benchmarks/index_batch.py                          # 4,000 of 100,000 users, 100,000 items, 64-d, top 100
python benchmarks/index_batch.py --users 100000           # all of them: two to three minutes of CPU

Both get the same random factors and one thread, which is implicit's best setting (its authors advise BLAS on one thread, and
`num_threads=1` then loses nothing in CPU seconds). They run in turns and must agree. Peak memory is this process's after
avrec's own runs, with the factors in it.
"""

import argparse
import os
import resource
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from implicit.cpu.topk import topk

from avrec.retrieval.exact import top_k

CPU = time.process_time


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"users": 4_000, "items": 100_000, "dim": 64, "k": 100, "turns": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    users = rng.standard_normal((arguments.users, arguments.dim), dtype=np.float32)
    items = rng.standard_normal((arguments.items, arguments.dim), dtype=np.float32)
    mine, _ = top_k(users, items, arguments.k)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    theirs, _ = topk(items, users, arguments.k, num_threads=1)
    same = (mine == theirs).mean()
    assert same > 0.999, f"they agree on {same:.2%} of the places"
    ours, others = [], []
    for turn in range(arguments.turns):
        for name in ("avrec", "implicit")[:: 1 if turn % 2 else -1]:
            start = CPU()
            if name == "avrec":
                top_k(users, items, arguments.k)
            else:
                topk(items, users, arguments.k, num_threads=1)
            (ours if name == "avrec" else others).append(CPU() - start)
    print(f"numpy {version('numpy')}  implicit {version('implicit')}  {arguments.users:,} users x {arguments.items:,} items "
          f"x {arguments.dim}-d, top {arguments.k}, load average {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"avrec {statistics.median(ours):.2f} CPU s (from {min(ours):.2f}), implicit {statistics.median(others):.2f} "
          f"(from {min(others):.2f}); implicit / avrec {statistics.median(b / a for a, b in zip(ours, others, strict=True)):.2f}"
          f"; peak {peak:.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
