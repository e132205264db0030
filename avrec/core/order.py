"""Random order as a pure function of (seed, epoch, stream): no generator state, so a run can resume anywhere."""

import numpy as np


def generator(seed: int, epoch: int, stream: str) -> np.random.Generator:
    """A Philox generator keyed by the run's seed, the epoch and the name of what is drawn.

    The same arguments give the same numbers on every machine, for any number of workers and ranks.
    """
    name = stream.encode("utf-8")
    words = np.frombuffer(name.ljust(-(-len(name) // 4) * 4, b"\0"), "<u4")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, *words.tolist()])))
