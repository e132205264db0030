from dataclasses import fields

import pytest

from avrec.core.errors import ConfigError
from avrec.media.limits import Limits


def test_the_defaults_are_those_of_the_documents() -> None:
    limits = Limits()
    assert (limits.memory_bytes, limits.seconds, limits.max_channels) == (2 * 2**30, 30.0, 16)
    assert (limits.max_pixels, limits.max_duration_sec) == (33_000_000, 4 * 60 * 60)


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_positive(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^Limits\.{name} is {value}; expected a positive number\.$"):
        Limits(**{name: value})
