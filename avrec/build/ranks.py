"""Several processes (ranks) of one job: what starts them, and what must be undone before the next job of a sweep."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write

# What Lightning and torch leave in the environment of the first rank.
RANK_VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "GROUP_RANK",
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "PL_GLOBAL_SEED",
)


@contextmanager
def ranks_of_job(program: Sequence[str], multirun: bool) -> Iterator[None]:
    """While it lasts, `sys.argv` starts another rank of *this job*; afterwards nothing of its ranks is left.

    Lightning's DDP starts its further processes as `python sys.argv... hydra.run.dir=...`. With the words the user typed, a
    sweep would start again inside every rank and folders would multiply; so ranks get this job's composed configuration
    and its folder. The next job of a sweep would wait for ever for the ranks of the one before, so their process group
    and environment variables end here.

    Args:
        program: the words that start this program: the script, and the verb for the console command.
        multirun: whether the job is a trial of a sweep, for the ranks, which see a single run.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.output_subdir is None:  # a rank already, or no configuration was written
        yield
        return
    output = Path(hydra_config.runtime.output_dir)
    arguments, environment = sys.argv, {name: os.environ.get(name) for name in RANK_VARIABLES}
    sys.argv = [*program, "--config-path", str(output / hydra_config.output_subdir), "--config-name", "config"]
    sys.argv += [f"++multirun={str(multirun).lower()}", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    with read_write(hydra_config):  # type: ignore[arg-type]
        hydra_config.run.dir = str(output)
    try:
        yield
    finally:
        sys.argv = arguments
        if multirun:
            _leave_process_group()
            for name, text in environment.items():
                os.environ.pop(name, None)
                os.environ.update({} if text is None else {name: text})


def _leave_process_group() -> None:
    distributed = sys.modules.get("torch.distributed")  # a verb without PyTorch stays without it
    if distributed and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
