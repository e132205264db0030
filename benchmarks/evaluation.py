"""Time and memory of one evaluation of 70,000 users over 25,000 items, beside `implicit`'s evaluator.

python benchmarks/evaluation.py                  # recall, NDCG, MRR, coverage and slices at 20, beside implicit at K=20
python benchmarks/evaluation.py --cutoffs 10 20 50

Both get the same factors and pairs (drawn at random, without ties) and one thread: BLAS through threadpoolctl, as implicit's
authors advise, and `num_threads=1`. They run in turns, A B A B, and must agree on NDCG. CPU seconds are the ones to trust on
a shared machine. Peak memory is read in a process of its own for each.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from threadpoolctl import threadpool_limits

PEERS = ("avrec", "implicit")


def pairs(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Codes `user * items + item` of distinct train and test pairs; some items are far more popular than others."""
    rng = np.random.default_rng(0)

    def draw(per_user: int) -> np.ndarray:
        users = np.repeat(np.arange(arguments.users), per_user)
        return np.unique(users * arguments.items + (arguments.items * rng.random(len(users)) ** 2).astype(np.int64))

    train = draw(arguments.history)
    return train, np.setdiff1d(draw(arguments.targets), train)


def factors(arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """User and item factors."""
    rng = np.random.default_rng(1)
    shapes = (arguments.users, arguments.dim), (arguments.items, arguments.dim)
    return rng.standard_normal(shapes[0], dtype=np.float32), rng.standard_normal(shapes[1], dtype=np.float32)


def avrec_evaluation(arguments: argparse.Namespace) -> Callable[[], float]:
    """Everything that `evaluate` measures; returns NDCG at the largest cutoff."""
    import torch

    from avrec.core.arrays import Float32
    from avrec.core.dataset import Dataset
    from avrec.core.ids import IdMap
    from avrec.core.interactions import Interactions
    from avrec.core.query import UserQuery
    from avrec.evaluation.evaluate import evaluate

    torch.set_num_threads(1)

    def interactions(codes: np.ndarray) -> Interactions:
        return Interactions.from_events(*np.divmod(codes, arguments.items), arguments.users, arguments.items)

    class Product:
        def __init__(self, user_factors: Float32, item_factors: Float32) -> None:
            self.user_factors, self.item_vectors = user_factors, item_factors

        def user_vectors(self, query: UserQuery) -> Float32:
            return self.user_factors[query.user_idx]

        def score(self, query: UserQuery) -> Float32:
            return self.user_vectors(query) @ self.item_vectors.T

    train, test = (interactions(codes) for codes in pairs(arguments))
    users, items = (IdMap([str(index) for index in range(count)]) for count in (arguments.users, arguments.items))
    dataset = Dataset("random", "", users, items, train, interactions(np.empty(0, np.int64)), test)
    scorer = Product(*factors(arguments))
    cutoff = max(arguments.cutoffs)
    return lambda: evaluate(scorer, dataset, "test", arguments.cutoffs).metrics[f"ndcg@{cutoff}"]


def implicit_evaluation(arguments: argparse.Namespace) -> Callable[[], float]:
    """`ranking_metrics_at_k` of a model that holds the same factors; returns its NDCG."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix

    def matrix(codes: np.ndarray) -> csr_matrix:
        shape = (arguments.users, arguments.items)
        return csr_matrix((np.ones(len(codes), np.float32), np.divmod(codes, arguments.items)), shape)

    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=arguments.dim, num_threads=1)
    model.user_factors, model.item_factors = factors(arguments)
    train, test = (matrix(codes) for codes in pairs(arguments))
    settings: dict[str, Any] = {"K": max(arguments.cutoffs), "show_progress": False, "num_threads": 1}
    return lambda: float(ranking_metrics_at_k(model, train, test, **settings)["ndcg"])


EVALUATIONS = {"avrec": avrec_evaluation, "implicit": implicit_evaluation}
IMPORTS = {"avrec": "avrec.evaluation.evaluate", "implicit": "implicit.evaluation"}


def peak_mib() -> float:
    """Most memory that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure_memory(peer: str, arguments: argparse.Namespace) -> None:
    """In a process of its own: peak memory after the imports, with the data, and after one evaluation, as JSON."""
    importlib.import_module(IMPORTS[peer])
    peaks = [peak_mib()]
    with threadpool_limits(1):
        run = EVALUATIONS[peer](arguments)
        peaks.append(peak_mib())
        run()
    print(json.dumps([*peaks, peak_mib()]))


def memory_of(peer: str) -> list[float]:
    """What `measure_memory` found; to be called while this process is small, since a child starts with its parent's peak."""
    command = [sys.executable, *sys.argv, "--memory-of", peer]
    peaks: list[float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return peaks


def measure_time(arguments: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of each run, in turns, after one run to warm up."""
    results: dict[str, dict[str, list[float]]] = {peer: {"wall": [], "cpu": [], "ndcg": []} for peer in PEERS}
    evaluations = {peer: EVALUATIONS[peer](arguments) for peer in PEERS}
    for turn in range(arguments.runs + 1):
        for peer, run in evaluations.items():
            with threadpool_limits(1):
                wall, cpu = time.perf_counter(), time.process_time()
                ndcg = run()
                spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "ndcg": ndcg}
            if turn > 0:
                for name, value in spent.items():
                    results[peer][name].append(value)
    return results


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"users": 70_000, "items": 25_000, "dim": 64, "history": 9, "targets": 2, "runs": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cutoffs", type=int, nargs="+", default=[20])
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        measure_memory(arguments.memory_of, arguments)
        return
    memory = {peer: memory_of(peer) for peer in PEERS}
    times = measure_time(arguments)
    print("  ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "implicit", "scipy")))
    print(
        f"{arguments.users:,} users x {arguments.items:,} items x {arguments.dim}-d, cutoffs {arguments.cutoffs}, one thread"
    )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {arguments.runs} runs in turns")
    print("           CPU s min  median  wall s min  median       NDCG  peak MiB after imports, with data, after all")
    for peer, values in times.items():
        cpu, wall = values["cpu"], values["wall"]
        print(
            f"{peer:10}{min(cpu):10.2f}{statistics.median(cpu):8.2f}{min(wall):12.2f}{statistics.median(wall):8.2f}"
            f"{values['ndcg'][0]:11.7f}" + "".join(f"{peak:8.0f}" for peak in memory[peer])
        )
    ratios = [theirs / ours for ours, theirs in zip(times["avrec"]["cpu"], times["implicit"]["cpu"], strict=True)]
    print(
        f"implicit / avrec in CPU seconds: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}"
    )
    assert abs(times["avrec"]["ndcg"][0] - times["implicit"]["ndcg"][0]) < 1e-7, "the two do not measure the same"


if __name__ == "__main__":
    main()
