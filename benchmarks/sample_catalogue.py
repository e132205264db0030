"""How much of what can be known of the sample catalogue a run found, and whether joint fine-tuning earned its cost.

`python benchmarks/sample_catalogue.py runs/sample-1 runs/sample-2 ... [--media data/media]`: each folder is one seed and holds the runs
`joint`, and beside it what it is compared with: `frozen` (a head on frozen features, given the same training time), `audio`, `video`.
For every run: test Recall@10, its share (model - popularity) / (oracle - popularity), overall and on never-trained items, and
content permuted. For every rival: the difference to `joint`, paired over the users of all seeds.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from avrec.baselines.oracle import Oracle
from avrec.baselines.popularity import Popularity
from avrec.build.model import load
from avrec.core.dataset import Dataset
from avrec.core.files import read_json
from avrec.data.prepared import load_dataset
from avrec.evaluation.evaluate import Evaluation, evaluate
from avrec.pipelines.evaluate import evaluate_permuted, evaluate_view
from avrec.training.media_store import MediaStore, with_steps

METRICS = ("recall@10", "cold/recall@10")
RIVALS = ("frozen", "audio", "video")


def evaluated(run: Path, media: str, rule: str, permuted: bool) -> tuple[Dataset, list[Evaluation]]:
    """The test evaluation of a run at an operating point, and with permuted content if asked."""
    found = load(run / "model.pt", rule)
    dataset = load_dataset(read_json(run / "run.json")["prepared"])
    dataset = with_steps(dataset, found.model, MediaStore(dataset, media))
    made = [evaluate_view(found.model, dataset)]
    return dataset, [*made, evaluate_permuted(found, dataset)] if permuted else made


def shares(model: Evaluation, floor: Evaluation, ceiling: Evaluation) -> list[float]:
    """(model - popularity) / (oracle - popularity) of each metric."""
    return [
        (model.metrics[name] - floor.metrics[name]) / (ceiling.metrics[name] - floor.metrics[name]) for name in METRICS
    ]


def paired(ours: list[Evaluation], theirs: list[Evaluation], metric: str) -> str:
    """Mean difference over the users of all seeds, its interval and p (paired t)."""
    values = np.concatenate([a.per_user[metric] - b.per_user[metric] for a, b in zip(ours, theirs, strict=True)])
    values = values[~np.isnan(values)]
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(0.95)
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}] p {test.pvalue:.2g} over {len(values)}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--media", default="data/media")
    parser.add_argument("--rule", default="overall")
    given = parser.parse_args()
    joint: list[Evaluation] = []
    rivals: dict[str, list[Evaluation]] = {name: [] for name in RIVALS}
    found: list[list[float]] = []
    for folder in given.folders:
        dataset, (model, permuted) = evaluated(folder / "joint", given.media, given.rule, True)
        floor = evaluate(Popularity().fit(dataset), dataset, "test")
        ceiling = evaluate(Oracle().fit(dataset), dataset, "test")
        found.append(shares(model, floor, ceiling))
        chance = {name: round(permuted.metrics[name], 4) for name in (*METRICS, "cold_only/recall@10")}
        line = {name: round(model.metrics[name], 4) for name in (*METRICS, "cold_only/recall@10")}
        print(f"{folder}: {line}, shares {np.round(found[-1], 3)}, content permuted {chance}")
        print(
            f"  popularity {floor.metrics['recall@10']:.4f}, oracle {[round(ceiling.metrics[name], 4) for name in METRICS]}"
        )
        joint.append(model)
        for name in RIVALS:
            if (folder / name / "model.pt").is_file():
                rivals[name].append(evaluated(folder / name, given.media, given.rule, False)[1][0])
    print(f"mean shares of {dict(zip(METRICS, np.round(np.mean(found, axis=0), 3), strict=True))}")
    for name, theirs in rivals.items():
        if len(theirs) == len(joint):
            for metric in METRICS:
                print(f"joint - {name}, {metric}: {paired(joint, theirs, metric)}")


if __name__ == "__main__":
    main()
