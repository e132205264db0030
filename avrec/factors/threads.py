"""BLAS on one thread: `implicit` and small dense solves become several times slower with more, above all on shared cores."""

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def single_blas_thread() -> AbstractContextManager[object]:
    """A context in which every loaded BLAS library uses one thread."""
    limits: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limits
