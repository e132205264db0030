import pytest

from avrec.core.errors import ConfigError
from avrec.export.options import ExportOptions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": "hnsw"}, "index: 'hnsw' is none of auto, exact, ivf"),
        ({"smaller": ("int4",)}, "smaller: 'int4' is none of int8, fp16"),
        ({"smaller": ("int8", "int8")}, r"smaller: \['int8', 'int8'\] names one twice"),
        ({"programs": "yes"}, "programs: 'yes' is neither true nor false"),
        ({"triton": 1}, "triton: 1 is neither true nor false"),
        ({"smaller_max_loss": 1.0}, "smaller_max_loss: 1.0 is not a share"),
        ({"smaller_max_loss": -0.1}, "smaller_max_loss: -0.1 is not a share"),
        ({"smaller_max_loss": float("nan")}, "smaller_max_loss: nan is not a share"),
    ],
)
def test_wrong_choices_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**changes)
