"""Real media files, for the tests of this room."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_media(shared_data: Path) -> Path:
    """The folder of real media; a test that needs it is skipped, and says so, where it is absent."""
    if not (shared_data / "media").is_dir():
        pytest.skip(f"no real media at {shared_data / 'media'}")
    return shared_data / "media"
