"""The lists of all users, from a bundle to a sealed Parquet file, beside implicit's `topk`.

    python benchmarks/batch_recommend.py                       # 8,000 users, 100,000 items, 64-d, top 100
    python benchmarks/batch_recommend.py --users 100000 --turns 3    # the whole of it: some minutes a turn

avrec reads a bundle, pools every user's history of 20 items in ONNX Runtime, searches, leaves out what was seen, writes parts
and seals the file. implicit is handed the finished user vectors and the histories as a filter, and keeps its answer in memory:
that is less work. Both run on one thread, which loses implicit nothing in CPU seconds and is what its authors advise for BLAS.
Peak memory is that of a fresh process which does nothing but write the file.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from pairs import in_turns, machine, medians

from avrec.bundle.batch import Wish, write_lists
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.query import UserQuery

EVENTS = 20


def make_bundle(folder: Path, num_users: int, num_items: int, dim: int) -> None:
    """A bundle of random vectors of `dim` coordinates, one of them the bias."""
    import torch

    from avrec.core.dataset import Dataset
    from avrec.core.ids import IdMap
    from avrec.core.interactions import Interactions
    from avrec.export.writer import BundleInfo, write_bundle
    from avrec.models.id_table import ItemTable, UserTable
    from avrec.models.item_tower import ItemTower
    from avrec.models.pooling import NormalizedSum
    from avrec.models.two_tower import CatalogueFeatures, TwoTower
    from avrec.models.user_tower import UserTower

    draw = np.random.default_rng(0)
    user_idx = np.repeat(np.arange(num_users), EVENTS)
    item_idx = (draw.integers(0, num_items, num_users)[:, None] + np.arange(EVENTS) * 997) % num_items
    none = Interactions.from_events(user_idx[:0], user_idx[:0], num_users, num_items)
    train = Interactions.from_events(user_idx, item_idx.ravel(), num_users, num_items)
    ids = [f"user{index:07d}" for index in range(num_users)], [f"item{index:07d}" for index in range(num_items)]
    dataset = Dataset("random", "0" * 64, IdMap(ids[0]), IdMap(ids[1]), train, none, none)
    torch.manual_seed(0)
    model = TwoTower(
        ItemTower({}, None, dim - 1),
        UserTower(dim - 1, 0, NormalizedSum(0.5), NormalizedSum(0.5)),
        ItemTable(num_items, dim - 1),
        UserTable(num_users, dim - 1, enabled=True),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model.item_evidence_N.copy_(torch.from_numpy(train.item_counts + 1))
        model.user_evidence_U.copy_(torch.from_numpy(train.user_counts))
    write_bundle(model, CatalogueFeatures({}, {}), dataset, folder, info=BundleInfo(seed=0))


def write(bundle: Path, out: Path, k: int) -> None:
    """The whole line, from opening the bundle on."""
    out.unlink(missing_ok=True)
    write_lists(Recommender(Bundle.open(bundle)), out, Wish(k))


def measure(folder: Path, k: int, turns: int) -> None:
    """Run both in turns, compare what they found, and print."""
    import pyarrow.parquet as pq
    from implicit.cpu.topk import topk
    from scipy import sparse

    bundle = Bundle.open(folder)
    recommender, history = Recommender(bundle), bundle.history
    users = np.arange(len(bundle.users))
    vectors = recommender.user_vectors(UserQuery.of_users(users, history))
    items = np.array(bundle.item_vectors)
    ones = np.ones(len(history), np.float32)
    seen = sparse.csr_matrix((ones, history.item_idx, history.indptr), (len(users), len(items)))
    answer = []

    def theirs() -> None:
        answer[:] = topk(items, vectors, k, filter_query_items=seen, num_threads=1)

    calls = {"avrec, to the sealed file": lambda: write(folder, folder.parent / "lists.parquet", k), "implicit": theirs}
    seconds = in_turns(calls, turns)
    table = pq.read_table(folder.parent / "lists.parquet", columns=["item_id"])["item_id"]
    found = bundle.items.index(table.cast("large_string")).reshape(len(users), k)
    same = float((found == answer[0]).mean())
    assert same > 0.999, f"they agree on {same:.2%} of the places"
    cpu = {name: pair[0] for name, pair in medians(seconds).items()}
    pairs = [theirs[0] / mine[0] for mine, theirs in zip(*seconds.values(), strict=True)]
    print(machine("implicit", "numpy", "onnxruntime", "pyarrow"))
    print(f"{len(users):,} users x {len(items):,} items x {items.shape[1]}-d, top {k}; medians of {turns} turns")
    print("; ".join(f"{name} {value:.2f} CPU s" for name, value in cpu.items()), end="; ")
    print(
        f"implicit / avrec {np.median(pairs):.2f} (from {min(pairs):.2f} to {max(pairs):.2f}); {same:.2%} equal places"
    )


def main() -> None:
    """Make the bundle, write once in a fresh process for its memory, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"users": 8_000, "items": 100_000, "dim": 64, "k": 100, "turns": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--step", choices=["all", "make", "write"], default="all", help="for the processes it starts")
    parser.add_argument("--folder", type=Path, help="where the bundle is made, or lies already; temporary if not given")
    arguments = parser.parse_args()
    if arguments.step == "make" and (arguments.folder / "bundle").is_dir():
        print(f"{arguments.folder / 'bundle'} stands already")
    elif arguments.step == "make":
        make_bundle(arguments.folder / "bundle", arguments.users, arguments.items, arguments.dim)
    elif arguments.step == "write":
        write(arguments.folder / "bundle", arguments.folder / "lists.parquet", arguments.k)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        size = (arguments.folder / "lists.parquet").stat().st_size / 2**20
        print(f"peak memory {peak:.2f} GiB, file {size:.1f} MiB", flush=True)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.folder or Path(temporary)
            words = [
                word for name in ("users", "items", "dim", "k") for word in (f"--{name}", str(vars(arguments)[name]))
            ]
            for step in ("make", "write"):
                command = [sys.executable, __file__, "--step", step, "--folder", str(folder), *words]
                subprocess.run(command, check=True)
            measure(folder / "bundle", arguments.k, arguments.turns)


if __name__ == "__main__":
    main()
