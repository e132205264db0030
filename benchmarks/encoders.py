"""Encoders side by side on one's own media: quality on validation, seconds, memory, size. See docs/choosing-an-encoder.md.

python benchmarks/encoders.py +experiment=quickstart \
    --try "sound: Whisper tiny.en" "modalities=[audio] encoder/audio=whisper" \
    --try "picture: EfficientNet-Lite0" "modalities=[video] encoder/video=efficientnet" \
    --try "both" ""

Every choice is a training of its own with frozen encoders and trained heads, in a process of its own, as a trial of a sweep: test is
not read. What it decodes and encodes for the first time is kept in the caches, and so is measured once: give `--fresh` to measure it
again in an empty cache. Quality is the model's content alone on validation, and at the operating points `overall` and `balanced`.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROOT = Path(__file__).resolve().parents[1]
MEASURE = """
import sys
from pathlib import Path
import numpy as np, torch
from avrec.build.compose import compose
from avrec.build.model import load
from avrec.evaluation.evaluate import evaluate
from avrec.models.encoders.base import MediaEncoder
from avrec.pipelines.media import media_store
from avrec.pipelines.prepare import load as load_dataset, prepared_folder
from avrec.training.media_store import with_steps
from avrec.training.scorer import TwoTowerScorer, catalogue_features
import json
folder, words = Path(sys.argv[1]), sys.argv[2:]
config = compose("train", [*words, f"run_dir={folder}"])
model = load(folder / "model.pt").model
dataset = load_dataset(prepared_folder(config), media_root=config.data.get("media_root"))
dataset = with_steps(dataset, model, media_store(config, dataset, model))
catalogue = catalogue_features(dataset, model.item_tower.modalities)
found = evaluate(TwoTowerScorer(model, catalogue, "content"), dataset, "validation", (10, 20)).metrics
encoders = [part for part in model.item_tower.encoders.values() if isinstance(part, MediaEncoder)]
parameters = sum(value.numel() for part in encoders for value in part.parameters())
print("MEASURED" + json.dumps({"parameters": parameters, "metrics": found}))
"""


def child(arguments: list[str]) -> tuple[str, float, float]:
    """What a process printed, its seconds on the clock and the peak memory of all children so far in MiB."""
    begin = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(arguments[:6])} ...\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure(words: list[str], folder: Path) -> dict[str, object]:
    """One row: train, then the quality of the content alone on validation."""
    train = [*words, "multirun=true", "logger=none", f"run_dir={folder}"]
    _, seconds, peak_mib = child([str(ROOT / "train.py"), *train])
    printed = child(["-c", MEASURE, str(folder), *words])[0]
    found = json.loads(printed.split("MEASURED")[1].splitlines()[0])
    record = json.loads((folder / "run.json").read_text())
    return {"seconds": seconds, "peak_mib": peak_mib, "speed": record.get("speed", []), **found}


def main() -> None:
    """Print the table; each row in a process of its own, so that peak memory is its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="as of `python train.py`: the data set, or +experiment=...")
    parser.add_argument("--try", dest="tries", nargs=2, action="append", metavar=("NAME", "OVERRIDES"), required=True)
    parser.add_argument("--fresh", action="store_true", help="encode in an empty cache")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # one choice in its own process
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(
            "ROW" + json.dumps(measure([*arguments.overrides, *shlex.split(arguments.row)], Path(tempfile.mkdtemp())))
        )
        return
    print("| encoder | parameters | encode, ms an item | run, s | peak MiB | content Recall@20 | on cold items |")
    print("|---|---|---|---|---|---|---|")
    for name, text in arguments.tries:
        words = (
            [*arguments.overrides, "~stages.top"] if "~stages.top" not in arguments.overrides else arguments.overrides
        )
        with tempfile.TemporaryDirectory() as cache:
            fresh = f" media.folder={cache}" if arguments.fresh else ""
            tried = ["--try", "x", ""]
            printed = child([__file__, *words, *tried, "--row", text + fresh])[0]
        row = json.loads(printed.split("ROW")[1].splitlines()[0])
        encode = sum(1000 / part["items_per_sec"] for part in row["speed"] if part["part"] in ("preprocess", "encode"))
        metrics = row["metrics"]
        print(
            f"| {name} | {row['parameters'] / 1e6:.1f} M | {encode:.0f} | {row['seconds']:.0f} | {row['peak_mib']:.0f} "
            f"| {metrics['recall@20']:.3f} | {metrics.get('cold/recall@20', float('nan')):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
