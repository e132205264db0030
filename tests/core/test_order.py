import pytest

from avrec.core.order import generator


def draw(*key):
    return generator(*key).integers(0, 2**62, 4).tolist()


def test_the_same_key_gives_the_same_numbers():
    assert draw(1, 2, "batches") == draw(1, 2, "batches")
    assert generator(0, 0, "x").integers(0, 1000, 3).tolist() == generator(0, 0, "x").integers(0, 1000, 3).tolist()


def test_each_part_of_the_key_counts():
    keys = [(1, 2, "a"), (2, 1, "a"), (1, 3, "a"), (1, 2, "b"), (1, 2, ""), (1, 2, "ab"), (1, 2, "a/0"), (0, 2, "a")]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)


@pytest.mark.parametrize("stream", ["", "é", "ééé", "naïve", "日本", "x" * 99])
def test_any_text_is_a_stream(stream):
    assert draw(0, 0, stream) == draw(0, 0, stream)


def test_numbers_never_change_between_versions():
    assert generator(7, 3, "golden").integers(0, 1000, 5).tolist() == [277, 481, 134, 252, 758]
