import pytest

from avrec.core.errors import AvrecError, ConfigError, DataError, MissingExtraError, require


def test_every_error_of_the_user_is_a_value_error():
    assert issubclass(ConfigError, AvrecError) and issubclass(AvrecError, ValueError)


def test_a_data_error_shows_every_problem():
    error = DataError(["a", "b"])
    assert error.problems == ["a", "b"] and str(error) == "a\nb"


def test_require_says_which_extra_to_install():
    assert require("json", "all").loads("1") == 1
    with pytest.raises(
        MissingExtraError, match=r"'no_such_module' could not be imported .* pip install 'avrec\[serve\]'"
    ):
        require("no_such_module", "serve")
    with pytest.raises(ImportError):
        require("no_such_module.below", "serve")
