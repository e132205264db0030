"""The typed keys of a run."""

import pytest
from omegaconf import OmegaConf

from avrec.build.schema import Calibration, check_run_keys, run_keys
from avrec.core.errors import ConfigError


def test_good_keys_pass_and_are_given_back_plain():
    config = OmegaConf.create(
        {"seed": 2**32 - 1, "ckpt": None, "calibration": "overall", "task_name": "a.b-c_1", "other": {}}
    )
    check_run_keys(config, {"seed", "ckpt", "calibration", "task_name", "other"})
    assert run_keys(config) == {"seed": 2**32 - 1, "ckpt": None, "calibration": "overall", "task_name": "a.b-c_1"}


def test_a_value_still_missing_is_left_to_the_check_before_the_run():
    check_run_keys(OmegaConf.create({"ckpt": "???"}), {"ckpt"})


def test_all_problems_at_once():
    config = OmegaConf.create({"sede": 1, "seed": "x", "multirun": "x"})
    with pytest.raises(ConfigError) as error:
        check_run_keys(config, {"seed", "multirun"})
    assert str(error.value) == (
        "3 problems in the configuration:\n"
        "  sede: no such key; did you mean 'seed'?\n"
        "  seed: 'x' is not a whole number.\n"
        "  multirun: 'x' is not true or false."
    )


def test_the_two_operating_points():
    assert [point.name for point in Calibration] == ["overall", "cold98", "balanced"]
