"""The `hydra` part of a configuration is checked too: Hydra builds sweepers, launchers, callbacks and loggers from it.

A config file of a stranger could otherwise run code before any key of ours is looked at.
"""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from avrec.build.resolve import TARGET, join, raise_all, target_nodes

ALLOWED_TARGETS = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra.experimental.callbacks.LogJobReturnCallback",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
        "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "optuna.samplers.CmaEsSampler",
        "optuna.samplers.GridSampler",
        "optuna.samplers.NSGAIISampler",
        "optuna.samplers.RandomSampler",
        "optuna.samplers.TPESampler",
    }
)
ALLOWED_LOG_CLASSES = frozenset(
    {"logging.Formatter", "logging.NullHandler", "logging.StreamHandler", "logging.FileHandler"}
)
ALLOWED_LOG_STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})
# Variables such as LD_PRELOAD and PYTHONPATH decide what code a process of a distributed run loads.
ALLOWED_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "GLOO_", "MKL_NUM_", "NCCL_", "OMP_NUM_", "OPENBLAS_NUM_", "WANDB_MODE")


def check_hydra_node(hydra: DictConfig) -> None:
    """Check the composed `hydra` node before Hydra acts on it.

    Raises:
        ConfigError: it names a class or an environment variable that is not on the list.
    """
    # Only parts that Hydra builds from; most of the node resolves at run time only.
    built = {name: hydra.get(name) for name in ("sweeper", "launcher", "callbacks")}
    plain = {
        name: OmegaConf.to_container(node, resolve=True) for name, node in built.items() if OmegaConf.is_config(node)
    }
    problems = [
        f"{join(key, TARGET)}: {node[TARGET]!r} is not on the list of what Hydra may build here (avrec/build/hydra_node.py)."
        for key, node in target_nodes(plain, "hydra")
        if node[TARGET] not in ALLOWED_TARGETS
    ]
    for part in ("job_logging", "hydra_logging"):
        node = hydra.get(part)
        problems += (
            _logging_problems(OmegaConf.to_container(node, resolve=False), f"hydra.{part}")
            if OmegaConf.is_config(node)
            else []
        )
    names = dict.fromkeys([*hydra.job.env_set, *hydra.job.env_copy])
    problems += [
        f"hydra.job: the environment variable {name!r} may not be set from a configuration. Set it in the shell."
        for name in names
        if not str(name).startswith(ALLOWED_ENVIRONMENT)
    ]
    raise_all(problems)


def _logging_problems(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, list | dict):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            place = join(key, name)
            if name in ("()", "factory"):
                yield f"{place}: {child!r} is refused. A logging configuration may name classes by 'class' only."
            elif name == "class" and child not in ALLOWED_LOG_CLASSES:
                yield f"{place}: {child!r} is none of {', '.join(sorted(ALLOWED_LOG_CLASSES))}."
            else:
                yield from _logging_problems(child, place)
    elif isinstance(value, str) and "://" in value and value not in ALLOWED_LOG_STREAMS:
        yield f"{key}: {value!r} is none of {', '.join(sorted(ALLOWED_LOG_STREAMS))}."
    elif isinstance(value, str) and "${" in value and not key.endswith(".filename"):
        yield f"{key}: {value!r} is refused. In a logging configuration only 'filename' may be an interpolation."
