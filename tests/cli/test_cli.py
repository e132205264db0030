"""The console command: verbs, help, exit codes, and errors without a wall of traceback."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import avrec
from avrec.cli import EXIT_CODES, VERBS, main
from avrec.core.errors import ArtefactError, AvrecError, ConfigError, DataError, MissingExtraError

ROOT = Path(__file__).resolve().parents[2]


def console(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["avrec", *arguments])
    code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_every_verb_with_examples(monkeypatch, capsys):
    for arguments in (["--help"], ["-h"], ["help"]):
        code, out, _ = console(monkeypatch, capsys, *arguments)
        assert code == 0
        assert all(f"  {verb:10} {text}\n" in out for verb, text in VERBS.items())
        assert "avrec train +experiment=quickstart" in out
    code, out, _ = console(monkeypatch, capsys)
    assert (code, out.splitlines()[0][:6]) == (2, "avrec:")


def test_version(monkeypatch, capsys):
    assert console(monkeypatch, capsys, "--version") == (0, f"avrec {avrec.__version__}\n", "")


def test_an_unknown_verb(monkeypatch, capsys):
    code, out, err = console(monkeypatch, capsys, "trian", "seed=1")
    assert (code, out, err) == (2, "", "avrec trian: no such verb; did you mean 'train'?\n")
    code, _, err = console(monkeypatch, capsys, "zzz")
    assert (
        err
        == "avrec zzz: no such verb; there are: ablate, embed, evaluate, export, prepare, recommend, report, serve, slide, train, verify.\n"
    )


@pytest.mark.parametrize(
    "command", [["-m", "avrec.cli", "--help"], ["train.py", "--help"], ["-m", "avrec.cli", "train", "-h"]]
)
def test_help_is_quick_and_imports_nothing_heavy(command):
    took = []
    for _ in range(3):
        begin = time.monotonic()
        answer = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True)
        took.append(time.monotonic() - begin)
    assert "Examples" in answer.stdout
    assert min(took) < 2.5, took
    answer = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in answer.stderr.splitlines()}
    assert "avrec" in loaded
    assert not loaded & {"torch", "pytorch_lightning", "numpy", "pyarrow", "pandas", "duckdb"}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_shows_its_examples(train, verb):
    code, out, err = train("--help", verb=verb, own_conf=False)
    assert (code, err) == (0, "")
    assert out.startswith(f"avrec {verb}: ")
    assert f"\n  avrec {verb} " in out
    assert "AVREC_DEBUG=1" in out


def test_help_lists_groups_and_configuration(train):
    code, out, _ = train("--help", "seed=7", "optimizer=sgd")
    assert code == 0
    assert out.startswith("avrec train: a test.\n\nExamples:\n  avrec train seed=2\n")
    assert "  experiment: quick\n  optimizer: adam, sgd\n" in out
    assert "  seed: 7\n" in out
    assert "    _target_: torch.optim.SGD\n" in out


def test_the_configuration_can_be_printed(train):
    code, out, _ = train("--cfg", "job", "+experiment=quick", "seed=3")
    assert code == 0
    assert "seed: 3\n" in out
    assert "task_name: quick\n" in out


MISTAKES = {
    ("sede=3",): "avrec train: sede: no such key; did you mean 'seed'?\n",
    ("optimizer.lrr=3",): "avrec train: optimizer.lrr: no such key; did you mean 'optimizer.lr'?\n",
    ("+optimizer.lrr=3",): "avrec train: optimizer: torch.optim.Adam has no argument 'lrr'; did you mean 'lr'?\n",
    (
        "optimizer._target_=torch.load",
    ): "avrec train: optimizer._target_: 'torch.load' is not on the list of classes that a"
    " configuration may name (avrec.* and those in avrec/build/allow.py).\n",
    ("optimizer=adm",): "avrec train: optimizer=adm: no such option; did you mean 'adam'?\n",
    ("data_dir=???",): "avrec train: data_dir: has no value yet. Give one: data_dir=VALUE\n",
    ("--config-dir", "absent"): "avrec train: --config-dir absent: there is no such folder.\n",
    ("--config-path", "absent"): "avrec train: --config-path absent: there is no such folder.\n",
    ("--experimental-rerun", "job.pickle"): "avrec train: --experimental-rerun reads a pickle, which avrec never does."
    " Repeat the run from its .hydra/overrides.yaml.\n",
    ("-m", "optimizer=adam,adm"): "avrec train: optimizer=adm: no such option; did you mean 'adam'?\n",
    ("-m", "seed=1,2,x"): "avrec train: seed: 'x' is not a whole number.\n",
    (
        "-m",
        "optimizer=adam,sgd",
        "+optimizer.amsgrad=true,false",
    ): "avrec train: optimizer: torch.optim.SGD has no argument"
    " 'amsgrad'; there are: dampening, differentiable, foreach, fused, lr, maximize, momentum, nesterov, params,"
    " weight_decay.\n",
    ("hydra/sweeper=optuna",): "avrec train: hydra/sweeper=optuna: no such option; there are: basic.\n",
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.items(), ids=[" ".join(given) for given in MISTAKES])
def test_a_mistake_is_told_before_anything_is_run_or_written(train, runs, arguments, expected):
    code, out, err = train(*arguments)
    assert (code, out, err) == (2, "", expected)
    assert runs == []
    assert not Path("runs").exists()


def test_the_verb_gets_its_configuration(train, runs):
    assert train("+experiment=quick", "optimizer.lr=1") == (0, "", "")
    (config,) = runs
    assert (config["seed"], config["optimizer"]["lr"], config["multirun"]) == (9, 1, False)
    folder = Path(config["run_dir"])
    assert folder.is_absolute()
    assert folder.parent == Path("runs/quick").absolute()
    assert (folder / ".hydra" / "config.yaml").is_file()


def test_a_run_folder_of_ones_own(train, runs):
    assert train("run_dir=here")[0] == 0
    assert runs[0]["run_dir"] == str(Path("here").absolute())
    assert Path("here/.hydra").is_dir()
    assert not Path("runs").exists()


ERRORS = [
    (ConfigError("k: no"), 2),
    (DataError(["a.csv row 1: x", "a.csv row 2: y"]), 3),
    (ArtefactError("model.pt: damaged"), 4),
    (MissingExtraError("onnx"), 5),
    (AvrecError("other"), 2),
]


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_of_the_users_is_a_message_and_an_exit_code(train, runs, error, code):
    def fail(config):
        raise error

    runs.action = fail
    assert train() == (code, "", f"avrec train: {error}\n")


def test_every_error_class_has_an_exit_code():
    kinds = {kind for kind, _ in EXIT_CODES}
    assert set(AvrecError.__subclasses__()) | {AvrecError} == kinds


@pytest.mark.parametrize("verb", ["recommend", "verify"])
def test_a_verb_that_only_reads_leaves_nothing_and_needs_no_torch(verb, tmp_path):
    code = (
        "import sys\n"
        "from avrec.cli import main\n"
        f"sys.argv = ['avrec', 'bundle_dir=absent']\ncode = main({verb!r})\n"
        "print(code, 'torch' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "4 False\n"
    assert answer.stderr.startswith(f"avrec {verb}: absent")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(train, runs, monkeypatch):
    def fail(config):
        raise ConfigError("k: no") from KeyError("inner")

    runs.action = fail
    monkeypatch.setenv("AVREC_DEBUG", "1")
    code, _, err = train()
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert "KeyError: 'inner'" in err
    assert err.rstrip().endswith("avrec.core.errors.ConfigError: k: no")


def test_a_note_says_where(train, runs):
    def fail(config):
        error = DataError(["items.csv row 3: bad"])
        error.add_note("(while building data.source: X)")
        raise error

    runs.action = fail
    assert train() == (3, "", "avrec train: items.csv row 3: bad\n(while building data.source: X)\n")


def test_a_defect_of_ours_shows_its_traceback(train, runs):
    def fail(config):
        raise ZeroDivisionError("a defect")

    runs.action = fail
    code, _, err = train()
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "ZeroDivisionError: a defect" in err


def test_an_interrupt(train, runs):
    def fail(config):
        raise KeyboardInterrupt

    runs.action = fail
    assert train() == (130, "", "avrec train: interrupted\n")


def test_a_missing_run_function_is_a_defect_not_a_mistake(train, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "avrec.pipelines.train", SimpleNamespace())
    code, _, err = train()
    assert code == 1
    assert "AttributeError" in err


@pytest.mark.parametrize("verb", ["train", "evaluate", "export"])
def test_the_script_is_a_shim(verb):
    lines = (ROOT / f"{verb}.py").read_text().splitlines()
    assert len(lines) <= 25
    assert f'    sys.exit(main("{verb}"))' in lines
