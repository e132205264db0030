"""What somebody is told who gave the wrong path, data, id or setting: the value, the place and the next step."""

import json
import shutil

import pytest

from tests.pipelines.world import user_id, write_tables

CONFIG, DATA, ARTEFACT = 2, 3, 4


@pytest.fixture
def told(console):
    """The one line on standard error, and nothing but that."""

    def call(verb, *words, code):
        answer = console(verb, *words, code=code)
        assert "Traceback" not in answer.err
        return answer.err

    return call


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_a_model_file_that_is_not_there(told, verb):
    assert told(verb, "ckpt=nowhere/model.pt", code=ARTEFACT) == (
        f"avrec {verb}: nowhere/model.pt: no such file. Give the path of a model.pt that `train.py` wrote.\n"
    )


def test_a_file_that_is_no_model(told, run):
    record = run.folder / "run.json"
    text = told("evaluate", f"ckpt={record}", code=ARTEFACT)
    assert text == (  # nobody is to be led to unpickle a stranger's file, as torch's own message does
        f"avrec evaluate: {record}: not readable as a checkpoint of tensors (it is none, or it holds Python objects, which "
        "are never loaded). Train again or use another file.\n"
    )


def test_other_data_than_the_model_was_trained_on(console, told, run):
    """By a path of the caller's, or because the recorded folder was made again from a changed log."""
    other = console.folder / "other data"
    words = write_tables(console.folder / "other tables", permute_test=True)
    console("prepare", *words, "data_dir='other data'")
    (folder,) = other.iterdir()
    found = json.loads((folder / "manifest.json").read_text())["content_hash"]
    expected = (
        f"{folder}: content hash {found[:12]}, but the model was trained on {run.metrics['data_hash'][:12]}. "
        "Give the data set of the training run: data=prepared data.path=FOLDER.\n"
    )
    for verb in ("evaluate", "export"):
        text = told(verb, f"ckpt={run.model}", f"data.path='{folder}'", code=ARTEFACT)
        assert text == f"avrec {verb}: {expected}"
    copied = console.folder / "copied"
    copied.mkdir()
    shutil.copy(run.model, copied)
    (copied / "run.json").write_text(json.dumps(run.record | {"prepared": str(folder)}))
    assert told("evaluate", "ckpt=copied/model.pt", code=ARTEFACT) == f"avrec evaluate: {expected}"


def test_a_model_file_without_its_record(console, told, run):
    alone = console.folder / "alone"
    alone.mkdir()
    shutil.copy(run.model, alone)
    assert told("export", "ckpt=alone/model.pt", code=ARTEFACT) == (
        "avrec export: alone/run.json: no such file, so the data set is not known. "
        "Give data.path=FOLDER of the prepared data set.\n"
    )


def test_an_operating_point_that_does_not_exist(told, run):
    text = told("evaluate", f"ckpt={run.model}", "calibration=cold", code=CONFIG)
    assert text == "avrec evaluate: calibration: 'cold' is not one of overall, cold98, balanced.\n"


def test_a_run_folder_that_belongs_to_another_run(told, data, run):
    text = told("train", *data, f"run_dir={run.folder}", "seed=7", code=CONFIG)
    assert text == (
        f"avrec train: run_dir: {run.folder} holds a run with another config.seed. "
        "Choose another run_dir, or repeat the old settings to go on with that run.\n"
    )


WRONG_SETTINGS = {
    ("sedd=3",): "avrec train: sedd: no such key; did you mean 'seed'?\n",
    ("modalities=[audio,vidoe]",): (
        "avrec train: modalities: the data set 'tables' has no ['vidoe']; it has ['audio', 'visual'].\n"
    ),
    (
        "start=look_up",
    ): "avrec train: start.method=look_up needs user_table.enabled=true: the user factors are stored there.\n",
    ("start=fold_in", "start.als.num_factors=8"): (
        "avrec train: the factorisation has 8 factors, the item table 16. "
        "Set id_dim and start.als.num_factors to the same number.\n"
    ),
    ("data.path=null",): "avrec train: data.path: give the folder of a prepared data set (avrec prepare prints it).\n",
}


@pytest.mark.parametrize(
    ("words", "expected"), WRONG_SETTINGS.items(), ids=[" ".join(words) for words in WRONG_SETTINGS]
)
def test_a_setting_that_does_not_fit(told, data, tmp_path, words, expected):
    assert told("train", *data, f"run_dir={tmp_path / 'run'}", *words, code=CONFIG) == expected


def test_content_losses_without_content(told, data, tmp_path):
    text = told("train", *data, f"run_dir={tmp_path / 'run'}", "modalities=[]", code=CONFIG)
    assert text.startswith(
        "avrec train: stage: the weights content=1.0 and joint=0.0 train content, but the model has no "
    )
    assert "stages=ids" in text


def test_a_log_that_is_not_there(told, tmp_path):
    words = ["data=tables", "data.interactions=no.csv", f"run_dir={tmp_path / 'run'}"]
    assert told("train", *words, code=DATA) == "avrec train: no.csv: no such file. Check the path.\n"


def test_users_and_items_that_a_bundle_does_not_know(told, bundle):
    place = f"bundle_dir={bundle}"
    text = told("recommend", place, "user='user 99'", code=DATA)
    assert text.startswith(f"avrec recommend: user id 'user 99' is not in {bundle}. Give the user's history instead")
    text = told("recommend", place, "history=[clip-01,clip-99,clip-xx]", code=DATA)
    lines = text.splitlines()
    assert lines[0].startswith(f"avrec recommend: item id 'clip-99' is not in {bundle}. Leave it out")
    assert lines[1].startswith(f"item id 'clip-xx' is not in {bundle}.")


@pytest.mark.parametrize(
    ("words", "found"), [([], "[]"), ([f"user='{user_id(1)}'", "history=[clip-01]"], "['user', 'history']")]
)
def test_neither_or_both_of_user_and_history(told, bundle, words, found):
    assert told("recommend", f"bundle_dir={bundle}", *words, code=CONFIG) == (
        "avrec recommend: give one of user=ID (such as 'user=user 00'), history=[ITEM,ITEM,...], item=ID or users=all; "
        f"found {found}. For somebody new give interests=[TAG,...], friends=[USER,...] or fields={{NAME:VALUE}}.\n"
    )


def test_a_bundle_that_is_not_there_or_was_touched(console, told, bundle, tmp_path):
    text = told("recommend", f"bundle_dir={tmp_path}", "user=1", code=ARTEFACT)
    assert text.startswith(
        f"avrec recommend: {tmp_path / 'manifest.json'}: cannot be read (No such file or directory)."
    )
    touched = shutil.copytree(bundle, tmp_path / "touched")
    content = bytearray((touched / "item_vectors.npy").read_bytes())
    content[-1] ^= 1
    (touched / "item_vectors.npy").write_bytes(content)
    assert "item_vectors.npy" in told("verify", f"bundle_dir={touched}", code=ARTEFACT)
