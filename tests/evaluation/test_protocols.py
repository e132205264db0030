import pytest

from avrec.core.errors import ConfigError
from avrec.evaluation.protocols import PROTOCOLS, protocol_named
from tests.evaluation.world import dataset

GIVEN = {"name": "GivenSplit", "validation_share": 0.0}
CARVED = {"name": "GivenSplit", "validation_share": 0.1}
LAST = {"name": "LeaveLastOut", "ties": "hash"}
TENTHS = {"name": "RandomSplit", "validation_share": 0.1, "test_share": 0.1}
FIFTH = {"name": "RandomSplit", "validation_share": 0.1, "test_share": 0.2}
TIME = {"name": "GlobalTimeSplit", "validation_share": 0.1, "test_share": 0.1}
WINDOWS = {"name": "WindowSplit", "train_hours": 24, "lifetime_hours": 12}
EVERY = (GIVEN, CARVED, LAST, TENTHS, FIFTH, TIME, WINDOWS)
SMALL = dataset([(0, 0), (1, 1)], [(0, 1)], [(0, 2), (1, 2)], 2, 3)
FITTING = {
    "honest": EVERY,
    "microlens": (LAST,),
    "mmrec": (GIVEN, TENTHS),
    "diffmm": (GIVEN,),
    "lightgcn": (CARVED,),
    "loo_unsampled": (LAST,),
    "alive": (WINDOWS,),
}


def test_every_protocol_has_its_row():
    assert [protocol.name for protocol in PROTOCOLS] == list(FITTING)
    masks = {protocol.name: protocol.mask for protocol in PROTOCOLS}
    assert {name for name, mask in masks.items() if mask == "train"} == {"mmrec", "diffmm"}


@pytest.mark.parametrize("name", FITTING)
def test_a_split_fits_or_is_refused_with_the_fix(name):
    for split in EVERY:
        if split in FITTING[name]:
            protocol_named(name).check(split, SMALL)
        else:
            with pytest.raises(
                ConfigError, match=f"protocol={name} does not fit the data set 'hand-made', split by {split['name']}"
            ) as caught:
                protocol_named(name).check(split, SMALL)
            assert "Prepare it with +split=" in str(caught.value)


def test_what_is_refused_is_told_in_full():
    with pytest.raises(ConfigError) as caught:
        protocol_named("lightgcn").check(GIVEN, SMALL)
    assert str(caught.value) == (
        "protocol=lightgcn does not fit the data set 'hand-made', split by GivenSplit(validation_share=0.0): its data are train "
        "and test; validation is carved out of the given train. Prepare it with +split=given +data.split.validation_share=0.1."
    )


def test_microlens_looks_at_the_data_too():
    long = dataset([(0, item) for item in range(12)], [(0, 12)], [(0, 13)], 1, 14)
    with pytest.raises(ConfigError, match=r"a user has 14 events; it keeps the last 13 of each. Cut the log"):
        protocol_named("microlens").check(LAST, long)
    protocol_named("microlens").check(LAST, dataset([(0, item) for item in range(11)], [(0, 11)], [(0, 12)], 1, 13))
    idle = dataset([(0, 0)], [(0, 1)], [(0, 2)], 1, 5)
    with pytest.raises(
        ConfigError, match=r"2 items have no event; .* Prepare it with \+data.options.min_item_events=1"
    ):
        protocol_named("microlens").check(LAST, idle)
    protocol_named("loo_unsampled").check(LAST, long)
    protocol_named("loo_unsampled").check(LAST, idle)


def test_an_unknown_name_is_told_the_known_ones():
    message = "protocol: 'diffm' is not one of honest, microlens, mmrec, diffmm, lightgcn, loo_unsampled, alive"
    with pytest.raises(ConfigError, match=message):
        protocol_named("diffm")
