"""Somebody's own media: two tables and a folder, through the console, with encoders of tiny random weights."""

import csv

import pytest

from tests.notebooks.conftest import save_encoders
from tests.pipelines.conftest import read
from tests.pipelines.world import write_media_tables

pytest.importorskip("av", reason="the extra decode is not installed")


@pytest.mark.slow
def test_embed_train_and_export_on_a_folder_of_media(console, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    tables = [*write_media_tables(folder), *save_encoders(folder / "encoders"), f"media.folder='{folder / 'caches'}'"]
    tables += ["media.max_bad_share=0.1", "stages.top.encoders.blocks={audio: 1, video: 1}"]
    first = console("embed", *tables).out
    assert "encoding audio" in first and "encoding video" in first
    assert "encoding" not in console("embed", *tables).out.replace("items embedded", "")

    run = console.train(
        "own_media",
        "+experiment=media",
        *tables[1:],
        "stages.joint.max_epochs=1",
        "stages.top.max_epochs=1",
        "id_dim=16",
        "fusion.num_heads=2",
        "baseline=[popularity,content_knn]",
    )
    stages = run.record["stages"]
    assert (
        "encoding" not in run.answer.out or not stages[1]["undone"]
    )  # only a moved encoder encodes the catalogue anew
    assert [stage["epochs"] for stage in stages] == [1, 1]
    assert {row["part"] for row in run.record["speed"]} >= {"step"}
    assert run.record["data_wait_share"].keys() == {"joint", "top"}
    table = next(iter((folder / "caches").glob("clips/*/media_errors.csv")))
    with open(table, newline="") as file:
        lines = list(csv.DictReader(file))
    assert any("item00002" in line["item_path"] for line in lines)
    console(
        "export", f"ckpt='{run.model}'", f"bundle_dir={run.folder / 'bundle'}", f"media.folder='{folder / 'caches'}'"
    )
    assert set(read(run.folder / "bundle" / "manifest.json")["media"]) == {"audio", "video"}
    console("verify", f"bundle_dir={run.folder / 'bundle'}")
