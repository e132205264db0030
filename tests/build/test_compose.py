"""Composing: what comes out, and what each mistake on the command line or in a file is answered with."""

import subprocess
import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from avrec.build.compose import ConfigPlace, compose, compose_at, compose_trials
from avrec.core.errors import ConfigError


def test_overrides_groups_and_experiments(conf):
    place = ConfigPlace("train", conf)
    config = compose_at(place, ["+experiment=quick", "logger=csv", "trainer=ddp", "data_dir=x"]).config
    assert (config.seed, config.trainer.max_epochs, config.trainer.devices, config.data_dir) == (9, 2, 2, "x")
    assert config.run_dir.startswith("runs/train/20")
    assert config.logger.save_dir == config.run_dir
    assert "hydra" not in config
    assert config.multirun is False
    config = compose_at(place, ["+experiment=other", "seed=3"]).config
    assert (config.seed, config.trainer.devices) == (3, 2)


def test_hydras_own_folders(conf):
    hydra = compose_at(ConfigPlace("train", conf), ["run_dir=here", "task_name=try"]).hydra
    assert hydra.run.dir == "here"
    assert hydra.sweep.dir.startswith("sweeps/try/20")
    assert hydra.job.chdir is False


def message(conf, *overrides, **options):
    with pytest.raises(ConfigError) as error:
        compose_at(ConfigPlace(options.pop("name", "train"), conf, options.pop("extra", None)), overrides)
    return str(error.value)


KEYS = "calibration, ckpt, copy, data_dir, layers, multirun, optimizer, run_dir, seed, task_name, trainer"

MISTAKES = {
    ("sede=3",): "sede: no such key; did you mean 'seed'?",
    ("+sede=3",): "sede: no such key; did you mean 'seed'?",
    ("trainer.max_epoch=3",): "trainer.max_epoch: no such key; did you mean 'trainer.max_epochs'?",
    ("optimizer.lrr=3",): "optimizer.lrr: no such key; did you mean 'optimizer.lr'?",
    ("trainer.gradient_clip_val=3",): "trainer.gradient_clip_val: no such key; write +trainer.gradient_clip_val=3"
    " (an argument of pytorch_lightning.Trainer that the configuration does not list).",
    ("optimizer.weight_decya=0",): "optimizer.weight_decya: no such key; write +optimizer.weight_decay=0"
    " (an argument of torch.optim.Adam that the configuration does not list).",
    ("max_epochs=3",): "max_epochs: no such key; did you mean 'trainer.max_epochs'?",
    ("zzz=3",): f"zzz: no such key; there are: {KEYS}.",
    ("traner=ddp",): "traner: no such key; did you mean 'trainer'?",
    ("trainer=dpp",): "trainer=dpp: no such option; did you mean 'ddp'?",
    (
        "trainer=null",
        "ckpt=null",
    ): "trainer=null: a group takes the name of one of its options, and null is none of them.",
    ("trainer=zzz",): "trainer=zzz: no such option; there are: cpu, ddp.",
    ("experiment=quick",): "experiment: the group is not in use yet; write +experiment=quick",
    ("+experiment=quik",): "experiment=quik: no such option; did you mean 'quick'?",
    ("seed.x=3",): "seed.x: no such key; seed is a single value.",
    ("layers.5.width=3",): "layers.5.width: layers is a list of 2; it has no position '5'.",
    ("layers.1.widht=3",): "layers[1].widht: no such key; did you mean 'layers[1].width'?",
    ("copy.lrr=3",): "copy.lrr: no such key; did you mean 'copy.lr'?",
    ("logger.name=3",): "logger.name: no option of the group logger is chosen yet; choose one of: csv.",
    ("sede=3", "trainer.max_epoch=1", "trainer=ddp"): "2 problems in the configuration:\n"
    "  sede: no such key; did you mean 'seed'?\n"
    "  trainer.max_epoch: no such key; did you mean 'trainer.max_epochs'?",
    ("a b",): "'a b' cannot be read as key=value. Quote what is special to the shell: 'key=\"a, b\"'.",
    ("seed=[1",): "'seed=[1' cannot be read as key=value. Quote what is special to the shell: 'key=\"a, b\"'.",
    (
        "seed=1,2",
    ): "Ambiguous value for argument 'seed=1,2' 1. To use it as a list, use key=[value1,value2] 2. To use it as"
    " string, quote the value: key='value1,value2' 3. To sweep over it, add --multirun to your command line",
    ("seed=abc",): "seed: 'abc' is not a whole number.",
    ("seed=1.5",): "seed: 1.5 is not a whole number.",
    ("seed=null",): "seed: None is not a whole number.",
    ("seed=-1",): "seed: -1 is not between 0 and 4294967295.",
    ("seed=4294967296",): "seed: 4294967296 is not between 0 and 4294967295.",
    ("seed=${nowhere}",): "seed: cannot be resolved: Interpolation key 'nowhere' not found",
    ("calibration=cold",): "calibration: 'cold' is not one of overall, cold98, balanced.",
    ("multirun=perhaps",): "multirun: 'perhaps' is not true or false.",
    ("task_name=../../etc",): "task_name: '../../etc' cannot name a folder. Use letters, digits, '.', '_' and '-',"
    " beginning with a letter or digit.",
    ("ckpt=[1]",): "ckpt: [1] is not text.",
    ("+experiment=typo",): "2 problems in the configuration:\n"
    "  sede: no such key; did you mean 'seed'?\n"
    "  optimzer: no such key; did you mean 'optimizer'?",
    (
        "+experiment=evil",
    ): "hydra.callbacks.x._target_: 'torch.hub.load' is not on the list of what Hydra may build here"
    " (avrec/build/hydra_node.py).",
    ("~trainer.zzz",): "Could not delete from config. 'trainer.zzz' does not exist.",
    ("+trainer.max_epochs=3",): "Could not append to config. An item is already at 'trainer.max_epochs'."
    " Either remove + prefix: 'trainer.max_epochs=3' Or add a second + to add or override 'trainer.max_epochs':"
    " '++trainer.max_epochs=3'",
}


@pytest.mark.parametrize(("overrides", "expected"), MISTAKES.items(), ids=[" ".join(given) for given in MISTAKES])
def test_mistakes(conf, overrides, expected):
    assert message(conf, *overrides) == expected


def test_a_broken_file_is_named_with_its_line(conf):
    text = message(conf, "+experiment=broken")
    assert (
        text
        == f"{conf}/experiment/broken.yaml line 2 column 2: not readable as YAML (expected ',' or ']', but got ':')."
    )


def test_an_unknown_primary_file(conf):
    assert (
        message(conf, name="trian") == "Cannot find primary config 'trian'. Check that it's in your config search path."
    )


def test_every_value_of_a_sweep_is_composed_before_the_first_trial(conf):
    place = ConfigPlace("train", conf)
    overrides = ["+experiment=quick,other", "seed=4,5", "optimizer.lr=interval(0,1)", "trainer=glob(*)", "ckpt=a"]
    found = [case.config for case in compose_trials(place, overrides)]
    assert [(config.seed, config.trainer.max_epochs, config.trainer.get("devices")) for config in found] == [
        (4, 2, None),
        (4, 1, None),
        (5, 2, None),
        (4, 2, 2),
    ]
    assert {config.ckpt for config in found} == {"a"}
    mistakes = {
        ("sede=1,2", "seed=1,2"): "sede: no such key; did you mean 'seed'?",
        ("seed=1,a",): "seed: 'a' is not a whole number.",
        ("trainer=cpu,dpp",): "trainer=dpp: no such option; did you mean 'ddp'?",
        ("seed=[1",): "'seed=[1' cannot be read as key=value. Quote what is special to the shell: 'key=\"a, b\"'.",
    }
    for given, expected in mistakes.items():
        with pytest.raises(ConfigError) as error:
            list(compose_trials(place, given))
        assert str(error.value) == expected


def test_a_folder_of_ones_own(conf, tmp_path):
    extra = tmp_path / "it's mine"
    (extra / "experiment").mkdir(parents=True)
    (extra / "experiment" / "own.yaml").write_text("# @package _global_\nseed: 77\n")
    place = ConfigPlace("train", conf, extra)
    assert compose_at(place, ["+experiment=own"]).config.seed == 77
    assert message(conf, "+experiment=owm", extra=extra) == "experiment=owm: no such option; did you mean 'own'?"
    assert message(conf, "sede=1", extra=extra) == "sede: no such key; did you mean 'seed'?"
    assert message(conf, extra=tmp_path / "no") == f"--config-dir {tmp_path}/no: there is no such folder."
    assert (
        message(conf, "hydra.searchpath=[]", extra=extra)
        == "--config-dir and hydra.searchpath are both given. Give one of them."
    )


def test_hydras_global_state_is_left_as_it_was(conf):
    before = GlobalHydra.instance().hydra
    compose_at(ConfigPlace("train", conf), [])
    with pytest.raises(ConfigError):
        compose_at(ConfigPlace("train", conf), ["zzz=1"])
    assert GlobalHydra.instance().hydra is before


def test_it_works_inside_another_hydra_program(conf):
    import hydra

    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        assert compose_at(ConfigPlace("train", conf), ["seed=5"]).config.seed == 5
        assert hydra.compose("train", ["seed=6"]).seed == 6


def test_composing_our_own_files_needs_no_torch():
    assert compose("train", ["seed=5"]).seed == 5
    code = "import sys; from avrec.build.compose import compose; compose('train'); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
