"""A start from the model of another data set, by the command line."""

import json

import pytest
import torch

from avrec.build.model import load
from avrec.core.files import sha256_file
from avrec.data.prepared import load_dataset
from avrec.evaluation.evaluate import evaluate
from avrec.pipelines import train
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.pipelines.conftest import SMALL_MODEL, Run, read
from tests.pipelines.transfer_world import write_halves

QUICK = ["baseline=[popularity]", "propagation=none", "logger=none", "multirun=true"]
ONE_EPOCH = [*QUICK, *SMALL_MODEL, "sampler.batch_size=128", "stages.joint.max_epochs=1"]


def first_tensors(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """What stood in the model each time that its encoders were about to read the data set's media."""
    found, with_steps = [], train.with_steps

    def watched(dataset, model, *arguments):
        found.append({name: value.clone() for name, value in model.state_dict().items()})
        return with_steps(dataset, model, *arguments)

    monkeypatch.setattr(train, "with_steps", watched)
    return found


def test_a_run_starts_from_another_and_its_record_names_it(console, run, prepared, monkeypatch):
    words = ["data=prepared", f"data.path={prepared}", *ONE_EPOCH, "start=transfer"]
    started, before = first_tensors(monkeypatch), run.tensors
    new = console.train("transferred", *words, f"+start.ckpt={run.model}")
    name = "item_tower.encoders.audio.head.weight"
    assert torch.equal(started[0][name], torch.from_numpy(before[name])), "before any encoder reads media"
    digest = sha256_file(run.model)
    record = read(new.folder / "run.json")
    assert (record["start"]["sha256"], record["start"]["data_hash"]) == (digest, record["data_hash"])
    assert record["start"]["ckpt"] == str(run.model) == record["config"]["start"]["ckpt"]
    assert record["start"]["left"] == {}
    assert f"start: from {run.model} (sha256 {digest[:12]})" in new.answer.out
    assert read(run.folder / "run.json")["start"] == {}

    inside = load(new.model).config["start"]
    assert inside["ckpt"] == f"sha256:{digest}", "the model file names no path"
    moved = console.folder / "moved.pt"
    moved.write_bytes(run.model.read_bytes())
    again = console.train("transferred", *words, f"start.ckpt={moved}")
    assert "finished earlier" in again.answer.out, "the same file in another place is the same start"
    value = torch.load(moved, weights_only=True)
    torch.save(value | {"seed": 999}, moved)
    refused = console.train("transferred", *words, f"start.ckpt={moved}", code=2)
    assert "holds a run with another config.start.ckpt" in refused.answer.err


def test_a_start_without_its_file_is_refused_before_anything_is_prepared(console, prepared):
    words = ["data=prepared", f"data.path={prepared}", *ONE_EPOCH, "start=transfer"]
    assert "start.ckpt" in console.train("nowhere", *words, code=2).answer.err
    refused = console.train("nowhere", *words, "start.ckpt=no/model.pt", code=2)
    assert "start.ckpt: there is no file no/model.pt. Give the model.pt of a run." in refused.answer.err
    assert not (console.folder / "nowhere" / "claim.json").exists()


def cold_recalls(run: Run) -> dict[str, float]:
    dataset = load_dataset(json.loads((run.folder / "run.json").read_text())["prepared"])
    model = load(run.model, "balanced").model
    scorer = TwoTowerScorer(model, catalogue_features(dataset, model.item_tower.modalities))
    found = evaluate(scorer, dataset, "validation").metrics
    return {name: found[name] for name in ("recall@20", "cold/recall@20", "cold_only/recall@20")}


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_a_large_catalogue_taught_helps_a_small_one(console):
    """950 users and 500 items, then 250 other users and 500 other items, three epochs, 218 cold targets on validation.

    Measured with seeds 1, 2, 3, at `balanced`, random -> transfer: cold recall@20 .323 -> .386, .188 -> .300, .246 -> .289; among
    cold items alone .526 -> .620, .350 -> .485, .455 -> .474; of all .253 -> .268, .203 -> .255, .239 -> .251.
    """
    many, few = write_halves(console.folder / "halves", seed=2, num_users=1200, few_users=250, num_items=1000)
    words = [*QUICK, "id_dim=32", "encoder.feature.dim=32"]
    large = console.train("large", *many, *words, "stages.joint.max_epochs=8")
    small = [
        *few,
        *words,
        "+split=global_time",
        "+data.split.validation_share=0.3",
        "stages.joint.max_epochs=3",
        "seed=2",
    ]
    random = cold_recalls(console.train("small_random", *small))
    transfer = cold_recalls(console.train("small_transfer", *small, "start=transfer", f"start.ckpt={large.model}"))
    assert all(transfer[name] > value for name, value in random.items()), (random, transfer)
    assert transfer["cold_only/recall@20"] > random["cold_only/recall@20"] + 0.06
