"""The processes of one fit: they belong to the job that started them and end with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

# What Lightning leaves in the environment of the first process when it has started the others.
RANK_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


@contextmanager
def own_ranks() -> Iterator[None]:
    """Leave no process group and no rank behind.

    Lightning keeps both until the process ends. The stages of one run share them, but the next job of a sweep, in the same
    process, would take itself for a rank that somebody else has started, and would wait for peers that are gone.
    """
    before = {name: os.environ.get(name) for name in RANK_VARIABLES}
    outer_group = distributed.is_available() and distributed.is_initialized()
    try:
        yield
    finally:
        if distributed.is_available() and distributed.is_initialized() and not outer_group:
            distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def first_rank_first() -> Iterator[None]:
    """The first rank does what stands inside while the others wait; then they find it done."""
    together = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    if together and distributed.get_rank() > 0:
        distributed.barrier()
    try:
        yield
    finally:
        if together and distributed.get_rank() == 0:
            distributed.barrier()
