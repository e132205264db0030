"""`avrec ablate`: train variants of one model over seeds, and compare them, paired by user, with the reference."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from avrec.build.compose import ConfigPlace
from avrec.build.help import group_options
from avrec.build.nearest import hint
from avrec.build.paths import conf_dir
from avrec.build.schema import MAX_SEED
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.errors import AvrecError, ConfigError, MissingExtraError, require
from avrec.core.files import atomic_folder, file_lock
from avrec.data.control import write_control
from avrec.pipelines.ablate_child import run_job
from avrec.pipelines.ablate_plan import Line, Variant, key_of, make_plan, place_of_command
from avrec.pipelines.ablate_progress import StudyProgress
from avrec.pipelines.ablate_study import Study, word
from avrec.pipelines.ablate_templates import World
from avrec.pipelines.claims import check_claim
from avrec.pipelines.prepare import load, prepared_folder
from avrec.pipelines.side import fitted_side
from avrec.pipelines.train import MODEL_FILE
from avrec.report.ablation import StudyResult, measured, write
from avrec.report.ablation_table import study_table

EXTRA, PACKAGES = "report", ("jinja2", "matplotlib")
OWN_KEYS = ("study", "variants", "seeds", "metric", "read_test", "ablation")
GIVEN_KEYS = ("data", "split", "run_dir", "multirun")  # every run gets its own: the prepared data set and a folder
LOCK_FILE = ".lock"
TABLE_WIDTH = 120
METRICS = tuple(f"{kind}@{cutoff}" for kind in ("recall", "ndcg", "mrr") for cutoff in (10, 20, 50))
SLICES = ("", "cold", "warm", "cold_only", "tail", "new_users")


def run(config: DictConfig) -> StudyResult:
    """Train what is not trained yet, one run after another, and write the comparison into `config.run_dir`.

    Raises:
        ConfigError: the study is not acceptable, or its folder belongs to another one; nothing has been trained then.
    """
    if config.multirun:
        raise ConfigError("avrec ablate is a sweep by itself. Leave out -m, and give seeds=[1,2,3] and variants=[...].")
    check_metric(str(config.metric))
    seeds, words = _seeds(config), _varied_words()
    prepared = prepared_folder(config)
    dataset = load(prepared, media_root=config.data.get("media_root"))
    place = place_of_command()
    line = Line(place, (*words, *_data_words(config, prepared)))
    world = world_of(dataset, config, place)
    plan = make_plan(line, config, world)
    parts: list[HeldOut] = ["validation", "test"] if config.read_test else ["validation"]
    folder = Path(config.run_dir)
    study = Study(config, folder, prepared, dataset.content_hash, world, line, plan, seeds, parts)
    for variant, seed in study.runs:
        data_hash = None if variant.control else dataset.content_hash
        check_claim(study.run_folder(variant, seed), dict(variant.settings), data_hash)
    _announce(study, dataset)
    with file_lock(folder / LOCK_FILE, wait=False) as held:
        if not held:
            raise ConfigError(f"run_dir: another process works on the study in {folder}. Wait until it has ended.")
        _train(study)
        return _finish(study, dataset)


def check_metric(metric: str) -> None:
    """Refuse a name that no evaluation has.

    Raises:
        ConfigError: it is none of `METRICS`, or its slice is unknown.
    """
    part, _, name = metric.rpartition("/")
    if name not in METRICS:
        raise ConfigError(f"metric: {metric!r}: no such metric; {hint(name, METRICS)}")
    if part not in SLICES and not part.startswith("missing_"):
        raise ConfigError(f"metric: {metric!r}: no such slice; {hint(part, [*SLICES[1:], 'missing_<modality>'])}")


def _seeds(config: DictConfig) -> list[int]:
    seeds = OmegaConf.to_container(config.seeds) if OmegaConf.is_config(config.seeds) else [config.seeds]
    assert isinstance(seeds, list)
    bad = [seed for seed in seeds if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED]
    if bad or not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds: {seeds} is not a list of distinct whole numbers from 0 to {MAX_SEED}.")
    return [int(seed) for seed in seeds if isinstance(seed, int)]


def _varied_words() -> tuple[str, ...]:
    """What the user typed, without what belongs to the study and what every run is given.

    Raises:
        ConfigError: a seed was typed.
    """
    typed = {text: key_of(text).replace("/", ".").partition(".")[0] for text in HydraConfig.get().overrides.task}
    if "seed" in typed.values():
        raise ConfigError("seed: a study takes several. Give them as seeds=[1,2,3].")
    return tuple(text for text, root in typed.items() if root not in (*OWN_KEYS, *GIVEN_KEYS))


def _data_words(config: DictConfig, prepared: Path) -> tuple[str, ...]:
    root = config.data.get("media_root")
    moved = () if root is None else (word("data.media_root", str(root)),)
    return ("data=prepared", word("data.path", str(prepared.absolute())), *moved)


def world_of(dataset: Dataset, config: DictConfig, place: ConfigPlace) -> World:
    """What templates may name on this data set; side information that is made into vectors counts as a modality."""
    known = sorted({*fitted_side(config, dataset)[0].features, *dataset.media})
    modalities = tuple(known if config.modalities is None else map(str, config.modalities))
    trains_ids = {str(name): float(node.get("weights", {}).get("id", 1.0)) > 0 for name, node in config.stages.items()}
    has: Mapping[str, Any] = {
        "modalities": modalities,
        "features": dataset.features,
        "media": dataset.media,
        "item_tags": dataset.item_tags is not None,
        "knowledge": dataset.knowledge is not None,
        "social": dataset.social is not None,
        "item_fields": dataset.item_fields,
        "texts": dataset.texts,
    }
    has = {**has, "side": any(has[name] for name in ("item_tags", "knowledge", "item_fields", "texts"))}
    stages = {
        mark: tuple(name for name, flag in trains_ids.items() if flag == wanted)
        for mark, wanted in (("{id_stage}", True), ("{other_stage}", False))
    }
    groups = group_options(place.folder or conf_dir())
    options = {name: tuple(found) for name, found in groups.items() if "/" not in name}
    present = frozenset(name for name, value in has.items() if value)
    return World(modalities, frozenset(dataset.features), present, stages, options)


def _announce(study: Study, dataset: Dataset) -> None:
    plan, runs = study.plan, study.runs
    done = sum(study.is_done(*one) for one in runs)
    print(
        f"study: the reference and {len(plan.variants)} variants of it on {dataset.name}, {len(study.seeds)} seeds, "
        f"{len(runs)} runs, {done} of them finished earlier; in {study.folder}"
    )
    print("".join(f"  left out: {one.name}: {one.reason}\n" for one in plan.left_out), end="")
    print("".join(f"  {one.name}: {one.note}\n" for one in plan.variants if one.note), end="")
    print(f"if it is broken off, the same line with run_dir={study.folder} goes on", flush=True)


def _train(study: Study) -> None:
    """Every run that has not been finished; one that fails is noted and costs the others nothing."""
    waiting = [one for one in study.runs if not study.is_done(*one)]
    with StudyProgress(len(waiting)) as progress:
        for variant, seed in waiting:
            progress.begin(f"{variant.name}, seed {seed}")
            try:
                reason = _train_one(study, variant, seed, progress)
            except (AvrecError, OSError) as error:
                reason = str(error)
            if study.is_done(variant, seed):
                reason = None
            elif reason is not None:
                study.failed[variant.name, seed] = reason
            progress.end(reason)


def _train_one(study: Study, variant: Variant, seed: int, progress: StudyProgress) -> str | None:
    """Train and read one run in a process of its own; returns why it failed."""
    if variant.control is not None:
        write_control(study.prepared, study.control_folder(variant, seed), variant.control, seed)
    folder = study.run_folder(variant, seed)
    if variant.after_stages:
        _borrow_stages(study.run_folder(study.plan.reference, seed), folder)
    return run_job(study.job(variant, seed), folder, progress.say)


def _borrow_stages(reference: Path, folder: Path) -> None:
    """Let a run that differs only in what comes after the stages start from the reference's, which are linked, not copied."""
    if not (reference / MODEL_FILE).is_file() or (folder / "checkpoints").exists():
        return
    with atomic_folder(folder / "checkpoints") as draft:
        shutil.copytree(reference / "checkpoints", draft, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _finish(study: Study, dataset: Dataset) -> StudyResult:
    """Compare on each part that was read, print the tables and write the files; the last part is the result."""
    metric = str(study.config.metric)
    metrics = (metric,) if "/" in metric else (metric, f"cold/{metric}", f"cold_only/{metric}")
    left_out = [(one.name, one.study, one.reason) for one in study.plan.left_out]
    command = " ".join(["avrec ablate", *HydraConfig.get().overrides.task])
    for part in study.parts:
        reference, *others = study.entries(part)
        result = measured(dataset.name, study.about(part, command), metrics, reference, others, left_out)
        folder = study.folder if part == study.parts[-1] else study.folder / part
        write(folder, result)
        Console(width=TABLE_WIDTH).print(study_table(result))
        _write_page(folder, result)
    print(f"study: {study.folder}")
    return result


def _write_page(folder: Path, result: StudyResult) -> None:
    try:
        for package in PACKAGES:
            require(package, EXTRA)
    except MissingExtraError:
        print(
            f"ablation.html: left out, since the extra '{EXTRA}' is not installed. "
            f"Get it with: pip install 'avrec[{EXTRA}]'"
        )
        return
    from avrec.report.ablation_page import write_page  # matplotlib and jinja2 come with an extra

    print(f"page: {write_page(folder, result)}")
