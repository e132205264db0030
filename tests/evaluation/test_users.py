import numpy as np

from avrec.core.dataset import Feature
from avrec.evaluation.question import Question
from avrec.evaluation.shares import catalogue_shares
from avrec.evaluation.users import UserFacts
from tests.evaluation.world import dataset


def test_the_facts_of_each_user():
    """Items 0 to 2 are trained (0 three times), 3 and 4 are not; item 3 lacks sound. User 2 is new, user 3 is asked nothing."""
    present = np.array([True, True, True, False, True])
    data = dataset(
        [(0, 0), (1, 0), (3, 0), (0, 1), (1, 1), (3, 1), (1, 2)],
        [(0, 2)],
        [(0, 3), (0, 4), (1, 4), (2, 2), (2, 0)],
        4,
        5,
        {"audio": Feature(np.zeros((5, 1), np.float32), present)},
    )
    facts = UserFacts.of(Question.of(data, "test"))
    assert facts.user_idx.tolist() == [0, 1, 2]
    assert facts.num_targets.tolist() == [2, 1, 2]
    assert facts.num_history.tolist() == [3, 3, 0]
    assert {name: flag.tolist() for name, flag in facts.flags.items()} == {
        "new_user": [False, False, True],
        "has_cold_target": [True, True, False],
        "has_warm_target": [False, False, True],
        "has_tail_target": [False, False, True],  # item 2, one of seven train events
        "has_missing_audio_target": [True, False, False],
    }
    assert UserFacts.of(Question.of(data, "test", "train")).num_history.tolist() == [2, 3, 0]


def test_shares_over_the_catalogue():
    """Of four items two have both modalities, one has sound alone, one has nothing."""
    share = np.array([[0.8, 0.2], [0.4, 0.6], [1.0, 0.0], [0.0, 0.0]], np.float32)
    present = np.array([[True, True], [True, True], [True, False], [False, False]])
    found = catalogue_shares(share, present, ("audio", "visual"))
    expected = {
        "share/items": 3, "share/audio": 2.2 / 3, "share/audio/p10": 0.48, "share/audio/p50": 0.8, "share/audio/p90": 0.96,
        "share/visual": 0.8 / 3, "share/visual/p10": 0.04, "share/visual/p50": 0.2, "share/visual/p90": 0.52,
        "complete/share/items": 2, "complete/share/audio": 0.6, "complete/share/audio/p10": 0.44,
        "complete/share/audio/p50": 0.6, "complete/share/audio/p90": 0.76, "complete/share/visual": 0.4,
        "complete/share/visual/p10": 0.24, "complete/share/visual/p50": 0.4, "complete/share/visual/p90": 0.56,
    }  # fmt: skip
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), [expected[name] for name in found], atol=1e-6)


def test_a_catalogue_without_complete_items_says_so():
    found = catalogue_shares(np.eye(2, dtype=np.float32), np.eye(2, dtype=bool), ("audio", "visual"))
    assert found["complete/share/items"] == 0
    assert found["share/audio"] == 0.5
    assert "complete/share/audio" not in found
