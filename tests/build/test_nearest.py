"""The nearest name, or what there is."""

from avrec.build.nearest import hint, nearest


def test_the_nearest_name():
    assert nearest("widht", ["height", "width"]) == "width"
    assert nearest("zzz", ["height", "width"]) is None
    assert hint("sed", ["seed", "data"]) == "did you mean 'seed'?"


def test_what_there_is_when_nothing_is_alike():
    assert hint("zzz", ["seed", "data"]) == "there are: data, seed."
    assert hint("zzz", []) == "there is none."
    assert hint("zzz", [f"k{i:02}" for i in range(30)]).endswith("k22, k23 and 6 more.")
