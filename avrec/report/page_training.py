"""The section that tells how training went."""

from collections.abc import Mapping

from avrec.report.page_parts import Picture, Section, Sheet, number, shown
from avrec.report.page_run import Curve, RunRecord, StageRecord
from avrec.report.plots_training import curves

TITLE = "How training went"
LOSSES = {
    "train/loss": "sum",
    "train/id_loss": "ids",
    "train/content_loss": "content",
    "train/joint_loss": "joint",
    "train/alignment_loss": "alignment",
}
RECALLS = {
    "val/recall@20": "ids alone",
    "val/content/recall@20": "content alone",
    "val/content/cold/recall@20": "content alone, untrained items",
}


def training_section(run: RunRecord) -> Section:
    """Curves of every stage and what became of it."""
    if not run.stages:
        return Section(
            "training", TITLE, "Left out: the run's folder holds no finished stage (checkpoints/*/done.json)."
        )
    pictures = [picture for stage in run.stages for picture in _pictures(stage)]
    words = [_sentence(stage) for stage in run.stages]
    if run.record.get("chosen"):
        words.append(f"After training this was {shown(str(run.record['chosen']), 300)}.")
    if pictures:
        words.append(
            "Losses should fall and flatten; validation should rise, and the dashed line stands where it was best."
        )
    elif any(stage.curves for stage in run.stages):
        words.append("The curves are left out: no stage ran for two epochs.")
    else:
        words.append(
            "The curves are left out: the run kept no CSV log. Train with logger=csv or logger=default to have them."
        )
    rows = [_row(stage) for stage in run.stages]
    columns = ["stage", "epochs", "best epoch", "objective at its start", "best objective", "kept"]
    sheet = Sheet("objective: recall@20 + NDCG@20 on validation, by what the stage trains", columns, rows)
    return Section("training", TITLE, " ".join(words), pictures, [sheet])


def _sentence(stage: StageRecord) -> str:
    name, found = shown(stage.name, 30), stage.summary
    epochs = f"{found.get('epochs', 0)} epoch" + ("s" if found.get("epochs") != 1 else "")
    if found.get("undone"):
        return f"Stage “{name}” ran for {epochs} and was undone, since validation did not gain."
    return f"Stage “{name}” ran for {epochs}; epoch {found.get('best_epoch', 0) + 1} was kept."


def _row(stage: StageRecord) -> list[str]:
    found = stage.summary
    return [
        shown(stage.name, 30),
        str(found.get("epochs", "–")),
        str(found["best_epoch"] + 1) if "best_epoch" in found else "–",
        number(found.get("start_objective")),
        number(found.get("objective")),
        "undone" if found.get("undone") else "yes",
    ]


def _pictures(stage: StageRecord) -> list[Picture]:
    best = None if stage.summary.get("undone") else stage.summary.get("best_epoch")
    found = []
    for names, label in ((LOSSES, "training loss"), (RECALLS, "validation recall@20")):
        series = _series(stage.curves, names)
        if series:
            image = curves(series, f"{label}, stage {shown(stage.name, 20)}", best)
            ends = "; ".join(f"{name} from {values[0]:.3f} to {values[-1]:.3f}" for name, (_, values) in series.items())
            found.append(Picture(image, f"{label} of stage {shown(stage.name, 30)}: {ends}."))
    return found


def _series(found: Mapping[str, Curve], names: Mapping[str, str]) -> dict[str, Curve]:
    """Those of the curves that are there, have two points, and are not zero throughout."""
    known = {words: found[name] for name, words in names.items() if name in found}
    return {words: curve for words, curve in known.items() if len(curve[0]) > 1 and any(curve[1])}
