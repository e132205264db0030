"""A run's folder made by hand around an untrained model: whatever strangers may name is hostile."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.core.dataset import Dataset, MediaColumn
from avrec.core.ids import IdMap
from avrec.core.side import CategoryField
from avrec.data.media_errors import MediaProblem
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.question import Question
from avrec.evaluation.significance import adjusted, compare
from avrec.report.metrics_file import Measured, write_metrics
from avrec.report.page_run import RunRecord
from avrec.report.page_subject import LIST, Subject
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.training.world import block_world, make_model

HOSTILE = (
    "{{ 7 * 7 }}</style></title><script>alert(1)</script><img src=x onerror=a(2)>\"'$\\frac$ \u202e|`[a](b){% raw %}"
)
POINT = {"kappa": 1.0, "content_scale": 2.0, "cold_offset": 0.0, "neighbour_weight": 0.0, "history_smoothing": 0.0}
FRONTIER = [
    POINT | {"recall@20": 0.3, "ndcg@20": 0.2, "cold/recall@20": 0.2, "warm/recall@20": 0.4},
    POINT | {"kappa": 3.0, "recall@20": 0.2, "ndcg@20": 0.1, "cold/recall@20": 0.5, "warm/recall@20": 0.1},
]
MANIFEST = {
    "name": HOSTILE,
    "counts": {
        "users": 64,
        "items": 96,
        "items_without_train": 16,
        **{
            part: {"rows": 128, "users": 64, "items": 90, "rows_of_items_without_train": 9}
            for part in ("train", "validation", "test")
        },
    },
    "lineage": [{"step": "read", "rows": 1000}, {"step": HOSTILE, "rows": 512}],
    "filters": [{"name": "duplicates", "setting": HOSTILE, "rows": 488, "users": 1, "items": 2}],
    "split": {"name": HOSTILE, "test_share": 0.1},
    "source": {"generator": "made up"},
    "missing_media": {"audio": [HOSTILE]},
}
ORDERS = {  # as JSON sorts them
    "MMR, lambda 0": {"ndcg@20": 0.1, "recall@20": 0.3, "diversity@20": 0.9, "mean_age_days@20": 10.0},
    "MMR, lambda 0.5": {"ndcg@20": 0.15, "recall@20": 0.35, "diversity@20": 0.8, "mean_age_days@20": 11.0},
    "as ranked": {"ndcg@20": 0.2, "recall@20": 0.4, "diversity@20": 0.6, "mean_age_days@20": 12.25},
    "fresh, weight 0.3": {"ndcg@20": 0.18, "recall@20": 0.4, "mean_age_days@20": 3.0},
    "seen items not hidden": {"ndcg@20": 0.05, "recall@20": 0.1, "diversity@20": 0.5},
}
RERANKED = {
    "part": "validation",
    "users": 60,
    "of_all_users": 64,
    "alike_by": HOSTILE,
    "diversity_by": HOSTILE,
    "rows": ORDERS,
}
CURVES = """epoch,step,train/loss,train/id_loss,train/joint_loss,val/recall@20
0,1,9.0,5.0,0,
0,2,7.0,nan,0,
0,3,,,,0.1
1,4,4.0,3.0,0,
1,5,,,,0.2
"""


def hostile_dataset() -> Dataset:
    """`block_world` with hostile ids, titles, field values, a modality and paths of files that are not there."""
    plain = block_world()
    features = {"audio": plain.features["audio"], HOSTILE.replace(".", ""): plain.features["visual"]}
    codes = np.arange(plain.num_items) % 3
    items = IdMap([f"{HOSTILE}{item}" for item in range(plain.num_items)])
    return replace(
        plain,
        name=HOSTILE,
        users=IdMap([f"{HOSTILE}{user}" for user in range(plain.num_users)]),
        items=items,
        features=features,
        item_fields={HOSTILE: CategoryField(codes, IdMap([f"{HOSTILE} {code}" for code in range(3)]))},
        item_table=pa.table({"item_id": items.array}),
        texts={"title": tuple(None if item % 2 else f"title {item} {HOSTILE}" for item in range(plain.num_items))},
        media={"audio": MediaColumn(tuple(f"{HOSTILE}/{item}.wav" for item in range(plain.num_items)))},
        media_root=None,
    )


def make_subject(folder: Path, dataset: Dataset | None = None, evaluated: bool = True) -> Subject:
    """A subject whose files stand in `folder`: with metrics, a frontier, one stage and a manifest, or with nothing at all."""
    dataset = dataset or hostile_dataset()
    scorer = TwoTowerScorer(model := make_model(dataset), catalogue_features(dataset, tuple(dataset.features)))
    evaluation = evaluate(scorer, dataset, "test", (LIST,), measures=ListMeasures.of(dataset), keep=LIST)
    if evaluated:
        content = evaluate(TwoTowerScorer(model, scorer_catalogue(dataset), "content"), dataset, "test", (LIST,))
        write_metrics(
            folder / "metrics.json",
            Measured([evaluation], {"calibration": "overall"}),
            {HOSTILE: Measured([content], {})},
            "abc",
            [1],
            adjusted({HOSTILE: compare_unlike(evaluation, content)}),
            FRONTIER,
            {"content only": Measured([content], {}), "overall, content permuted": Measured([content], {})},
        )
        (folder / "run.json").write_text(
            json.dumps({"seed": 1, "code_version": "0", "data_hash": "abc", "operating_points": {"overall": POINT}})
        )
        stage = folder / "checkpoints" / "0_joint"
        stage.mkdir(parents=True)
        (stage / "done.json").write_text(json.dumps({"epochs": 2, "best_epoch": 1, "objective": 0.3, "undone": False}))
        (folder / "logs" / "joint").mkdir(parents=True)
        (folder / "logs" / "joint" / "metrics.csv").write_text(CURVES)
        (folder / "rerank.json").write_text(json.dumps(RERANKED))
        (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    problems = {"audio": {HOSTILE: MediaProblem(HOSTILE, "audio", "unreadable", f"no header {HOSTILE}")}}
    question = Question.of(dataset, "test")
    return Subject(RunRecord.read(folder, folder), dataset, scorer, question, evaluation, problems)


def scorer_catalogue(dataset: Dataset):
    return catalogue_features(dataset, tuple(dataset.features))


def compare_unlike(one, other):
    """A paired test; what the two say of their diversity in words does not matter here."""
    return compare(replace(one, protocol=other.protocol), other, "recall@20")


class Parsed(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
