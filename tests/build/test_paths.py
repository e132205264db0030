"""The configuration folder: in a checkout, in a wheel, nowhere."""

from pathlib import Path

import pytest

from avrec.build.paths import conf_dir
from avrec.core.errors import ArtefactError

ROOT = Path(__file__).resolve().parents[2]


def test_a_checkout_has_it_beside_the_package():
    assert conf_dir() == ROOT / "conf"


def test_a_wheel_has_it_inside_the_package_and_a_neighbour_is_not_taken_for_it(tmp_path):
    for folder in (tmp_path / "avrec" / "conf", tmp_path / "conf"):
        folder.mkdir(parents=True)
        (folder / "train.yaml").touch()
    assert conf_dir(tmp_path / "avrec") == tmp_path / "avrec" / "conf"


def test_without_it_the_message_says_where_it_was_looked_for(tmp_path):
    (tmp_path / "conf").mkdir()  # a stranger's folder of that name, without our files
    with pytest.raises(ArtefactError) as error:
        conf_dir(tmp_path / "avrec")
    assert str(error.value) == (
        f"no configuration folder with train.yaml at {tmp_path}/avrec/conf and {tmp_path}/conf."
        " Install avrec again: pip install --force-reinstall avrec"
    )
