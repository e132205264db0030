"""Hydra's own part of a configuration: what it may build, log with and set."""

import pytest

from avrec.build.compose import ConfigPlace, compose_at
from avrec.core.errors import ConfigError

LIST = "is not on the list of what Hydra may build here (avrec/build/hydra_node.py)."
CLASSES = "is none of logging.FileHandler, logging.Formatter, logging.NullHandler, logging.StreamHandler."

REFUSED = {
    "+hydra.callbacks.x._target_=os.system": f"hydra.callbacks.x._target_: 'os.system' {LIST}",
    "+hydra.callbacks.x._target_=hydra.experimental.callbacks.PickleJobInfoCallback": "hydra.callbacks.x._target_:"
    f" 'hydra.experimental.callbacks.PickleJobInfoCallback' {LIST}",
    "+hydra.callbacks.x={_target_:hydra.experimental.callbacks.LogJobReturnCallback,a:[{_target_:torch.load}]}": ""
    f"hydra.callbacks.x.a[0]._target_: 'torch.load' {LIST}",
    "hydra.launcher._target_=torch.load": f"hydra.launcher._target_: 'torch.load' {LIST}",
    "hydra.sweeper._target_=optuna.samplers.os.system": f"hydra.sweeper._target_: 'optuna.samplers.os.system' {LIST}",
    "hydra.sweeper._target_=${task_name}": f"hydra.sweeper._target_: 'train' {LIST}",
    "+hydra.job_logging.handlers.x={class:os.system}": f"hydra.job_logging.handlers.x.class: 'os.system' {CLASSES}",
    "+hydra.job_logging.handlers.x={class:'${task_name}'}": "hydra.job_logging.handlers.x.class: '${task_name}' "
    + CLASSES,
    "+hydra.hydra_logging.handlers.x={factory:os.system}": "hydra.hydra_logging.handlers.x.factory: 'os.system' is refused."
    " A logging configuration may name classes by 'class' only.",
    "+experiment=factory": "hydra.job_logging.handlers.x.(): 'os.system' is refused."
    " A logging configuration may name classes by 'class' only.",
    "hydra.job_logging.handlers.console.stream=ext://os.environ": "hydra.job_logging.handlers.console.stream:"
    " 'ext://os.environ' is none of ext://sys.stderr, ext://sys.stdout.",
    "hydra.job_logging.handlers.console.stream=${task_name}": "hydra.job_logging.handlers.console.stream:"
    " '${task_name}' is refused. In a logging configuration only 'filename' may be an interpolation.",
    "+hydra.job.env_set.LD_PRELOAD=x.so": "hydra.job: the environment variable 'LD_PRELOAD' may not be set from a"
    " configuration. Set it in the shell.",
    "hydra.job.env_copy=[PATH]": "hydra.job: the environment variable 'PATH' may not be set from a configuration."
    " Set it in the shell.",
}


@pytest.mark.parametrize(("override", "expected"), REFUSED.items(), ids=REFUSED)
def test_refused(conf, override, expected):
    text = "# @package _global_\nhydra: {job_logging: {handlers: {x: {'()': os.system}}}}\n"
    (conf / "experiment" / "factory.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        compose_at(ConfigPlace("train", conf), [override])
    assert str(error.value) == expected


@pytest.mark.parametrize(
    "override",
    [
        "hydra/job_logging=disabled",
        "hydra/job_logging=none",
        "hydra/job_logging=stdout",
        "+hydra.callbacks.x._target_=hydra.experimental.callbacks.LogJobReturnCallback",
        "+hydra.job.env_set.OMP_NUM_THREADS=1",
        "hydra.verbose=true",
    ],
)
def test_accepted(conf, override):
    compose_at(ConfigPlace("train", conf), [override])
