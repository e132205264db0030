"""Fixtures that every room's tests may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder `shared` beside the repository, whose `data/` holds real data sets.

    A test that needs it is skipped, and says so, where it is absent.
    """
    folder = Path(os.environ.get("AVREC_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}; set AVREC_SHARED to the folder that holds data/")
    return folder
