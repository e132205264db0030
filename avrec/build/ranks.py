"""Several processes (ranks) of one job: what starts them. Training ends them, see `avrec.training.ranks`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import read_write


@contextmanager
def ranks_of_job(program: Sequence[str], multirun: bool) -> Iterator[None]:
    """While it lasts, `sys.argv` starts another rank of *this job*.

    Lightning's DDP starts its further processes as `python sys.argv... hydra.run.dir=...`. With the words the user typed, a
    sweep would start again inside every rank and folders would multiply; so ranks get this job's composed configuration
    and its folder.

    Args:
        program: the words that start this program: the script, and the verb for the console command.
        multirun: whether the job is a trial of a sweep, for the ranks, which see a single run.
    """
    hydra_config = HydraConfig.get()
    if hydra_config.output_subdir is None:  # a rank already, or no configuration was written
        yield
        return
    output = Path(hydra_config.runtime.output_dir)
    arguments = sys.argv
    sys.argv = [*program, "--config-path", str(output / hydra_config.output_subdir), "--config-name", "config"]
    sys.argv += [f"++multirun={str(multirun).lower()}", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    with read_write(hydra_config):  # type: ignore[arg-type]
        hydra_config.run.dir = str(output)
    try:
        yield
    finally:
        sys.argv = arguments
