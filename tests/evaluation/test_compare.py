import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from avrec.core.errors import ArtefactError, AvrecError
from avrec.evaluation.compare import compare_all, compare_series, read_series
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.significance import compare, holm

ABOUT = {
    "format_version": 1, "data_hash": "abc", "part": "test", "protocol_name": "honest", "protocol": "words",
    "diversity_by": "content (audio)", "marked": "overall",
}  # fmt: skip
NUM_USERS, SEEDS = 200, (3, 1, 2)


def write(path, values, seed, **about):
    """A run's file: {view: (U,) recall@20}."""
    views = [view for view, of_users in values.items() for _ in of_users]
    columns = {
        "user_id": [f"u{user}" for of_users in values.values() for user in range(len(of_users))],
        "view": pa.array(views).dictionary_encode(),
        "recall@20": pa.array(np.concatenate(list(values.values())), from_pandas=True),
        "diversity@20": np.ones(len(views)),
    }
    metadata = {b"avrec": json.dumps({**ABOUT, "seed": seed, **about}).encode()}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def drawn():
    """{view: (S, U)}: users differ much, seeds differ for everybody alike, and `overall` is better than `weak` by .05."""
    rng = np.random.default_rng(0)
    user, seed = rng.random(NUM_USERS), 0.02 * rng.standard_normal((3, 1))
    noise = 0.2 * rng.standard_normal((3, 3, NUM_USERS))
    values = {"overall": user + 0.05 + seed + noise[0], "weak": user + noise[1], "same": user + 0.05 + noise[2]}
    for of_users in values.values():
        of_users[:, 7] = np.nan
    return values


@pytest.fixture
def files(tmp_path, drawn):
    return [
        write(tmp_path / f"{seed}.parquet", {view: values[row] for view, values in drawn.items()}, seed)
        for row, seed in enumerate(SEEDS)
    ]


def test_runs_are_read_in_the_order_of_their_seeds(files, drawn):
    series = read_series(files, "recall@20")
    assert (series.name, series.seeds, len(series.users)) == ("overall", (1, 2, 3), NUM_USERS)
    np.testing.assert_array_equal(series.values_SU, drawn["overall"][[1, 2, 0]])
    means = [np.nanmean(values) for values in series.values_SU]
    assert series.mean == pytest.approx(np.mean(means))
    assert series.sd == pytest.approx(np.std(means, ddof=1))
    weak = read_series(files[:1], "recall@20", "weak", name="the weak one")
    assert (weak.name, weak.seeds, weak.sd) == ("the weak one", (3,), 0.0)


@pytest.mark.parametrize("test", ["t", "wilcoxon"])
def test_a_user_counts_once_however_many_seeds_there_are(files, drawn, test):
    a, b = (read_series(files, "recall@20", view) for view in ("overall", "weak"))
    found = compare_series(a, b, test)
    by_user = np.delete(drawn["overall"] - drawn["weak"], 7, axis=1)
    averaged = by_user.mean(axis=0)
    expected = stats.ttest_1samp(averaged, 0) if test == "t" else stats.wilcoxon(averaged)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.mean_difference == pytest.approx(by_user.mean())
    assert found.sd_difference == pytest.approx(by_user.mean(axis=1).std(ddof=1))
    assert found.p_value_seeds == pytest.approx(stats.ttest_1samp(by_user.mean(axis=1), 0).pvalue)
    assert found.interval == pytest.approx(stats.ttest_1samp(averaged, 0).confidence_interval(0.95))
    assert (found.wins, found.losses, found.users) == ((averaged > 0).sum(), (averaged < 0).sum(), NUM_USERS - 1)
    assert found.names == ("overall", "weak")
    name = "paired t" if test == "t" else "Wilcoxon signed rank"
    assert found.test == f"{name} over users, each averaged over 3 seeds"
    back = compare_series(b, a, test)
    assert (back.mean_difference, back.p_value) == (pytest.approx(-found.mean_difference), pytest.approx(found.p_value))


def test_with_one_seed_it_is_the_paired_test_of_one_run(files, drawn):
    found = compare_series(*(read_series(files[:1], "recall@20", view) for view in ("overall", "weak")))
    one, other = (
        Evaluation("test", "words", np.arange(NUM_USERS), {"recall@20": drawn[view][0]}, {}, {})
        for view in ("overall", "weak")
    )
    expected = compare(one, other, "recall@20")
    assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)
    assert found.interval == pytest.approx(expected.interval)
    assert found.p_value_seeds is None


def test_copies_of_one_run_are_no_evidence(tmp_path, drawn):
    """Three seeds that say the same are one: stacking the rows of all would make the p-value far smaller."""
    values = {view: drawn[view][0] for view in ("overall", "weak")}
    copies = [write(tmp_path / f"copy{seed}.parquet", values, seed) for seed in SEEDS]
    once, thrice = (
        compare_series(*(read_series(some, "recall@20", view) for view in values)) for some in (copies[:1], copies)
    )
    assert thrice.p_value == pytest.approx(once.p_value, rel=1e-9)
    assert thrice.p_value_seeds is None


def test_chance_is_called_significant_in_about_one_of_twenty(tmp_path):
    rng = np.random.default_rng(5)
    hits = 0
    template = {"overall": np.zeros(60), "weak": np.zeros(60)}
    paths = [write(tmp_path / f"{seed}.parquet", template, seed) for seed in SEEDS]
    a, b = (read_series(paths, "recall@20", view) for view in template)
    for _ in range(400):
        a.values_SU[:], b.values_SU[:] = (rng.standard_normal(60) + 0.3 * rng.standard_normal((3, 60)) for _ in "ab")
        hits += compare_series(a, b).p_value < 0.05
    assert 8 <= hits <= 34


def test_everything_equal_is_no_difference_and_equal_gains_are_certain(tmp_path):
    values = {"overall": np.full(9, 0.5), "same": np.full(9, 0.5), "weak": np.full(9, 0.25)}
    paths = [write(tmp_path / f"{seed}.parquet", values, seed) for seed in (1, 2)]
    overall, same, weak = (read_series(paths, "recall@20", view) for view in values)
    for test in ("t", "wilcoxon"):
        assert compare_series(overall, same, test).p_value == 1.0
    found = compare_series(overall, weak)
    assert (found.mean_difference, found.interval, found.p_value) == (0.25, (0.25, 0.25), 0.0)


def test_all_against_one_are_corrected_by_holm(files):
    reference = read_series(files, "recall@20", "weak")
    others = {view: read_series(files, "recall@20", view) for view in ("overall", "same")}
    found = compare_all(reference, others)
    alone = {name: compare_series(one, reference) for name, one in others.items()}
    assert [found[name].p_value for name in others] == holm([alone[name].p_value for name in others])
    assert [found[name].p_value_seeds for name in others] == holm([alone[name].p_value_seeds for name in others])
    assert found["overall"].mean_difference == alone["overall"].mean_difference > 0
    assert found["same"].test == "paired t over users, each averaged over 3 seeds, Holm over 2"


def test_only_the_seeds_that_both_have_are_compared(tmp_path, files, drawn):
    reference = read_series(files, "recall@20", "weak")
    fewer = read_series(files[:2], "recall@20", "overall")  # of the seeds 3 and 1
    found = compare_all(reference, {"overall": fewer})["overall"]
    assert found.seeds == (1, 3)
    assert found.mean_difference == pytest.approx(np.nanmean(drawn["overall"][:2] - drawn["weak"][:2]))
    assert reference.of_seeds([2, 9]).seeds == (2,)
    np.testing.assert_array_equal(reference.of_seeds([2]).values_SU, drawn["weak"][2:])
    other = write(tmp_path / "other.parquet", {"overall": np.zeros(NUM_USERS)}, 9)
    with pytest.raises(
        AvrecError, match=r"'overall' has the seeds \[9\], 'weak' the seeds \[1, 2, 3\]; none is in both"
    ):
        compare_all(reference, {"overall": read_series([other], "recall@20")})


def test_runs_that_were_asked_something_else_are_refused(tmp_path, files):
    values = {"overall": np.zeros(NUM_USERS)}
    for key, value in {
        "data_hash": "other",
        "protocol": "else",
        "part": "validation",
        "protocol_name": "diffmm",
    }.items():
        other = write(tmp_path / "other.parquet", values, 9, **{key: value})
        with pytest.raises(AvrecError, match=f"they differ in {key} ") as caught:
            read_series([*files, other], "recall@20")
        assert repr(value) in str(caught.value)
        with pytest.raises(AvrecError, match="were not asked the same question"):
            compare_series(read_series(files[:1], "recall@20"), read_series([other], "recall@20"))
    fewer = write(tmp_path / "fewer.parquet", {"overall": np.zeros(3)}, 9)
    with pytest.raises(AvrecError, match=r"they differ in users. Compare runs of one data set, part and protocol"):
        read_series([*files, fewer], "recall@20")


def test_diversity_is_compared_in_one_space_only(tmp_path, files):
    other = write(tmp_path / "other.parquet", {"overall": np.zeros(NUM_USERS)}, 9, diversity_by="train users in common")
    assert read_series([files[0], other], "recall@20").seeds == (3, 9)
    with pytest.raises(AvrecError, match="they differ in diversity_by"):
        read_series([files[0], other], "diversity@20")


def test_seeds_are_paired(tmp_path, files):
    with pytest.raises(AvrecError, match="two of the runs have seed 3; give one run for each seed"):
        read_series([files[0], files[0]], "recall@20")
    with pytest.raises(AvrecError, match=r"has the seeds \[1, 2, 3\], 'recall@20' of 'weak' the seeds \[1\]"):
        compare_series(read_series(files, "recall@20"), read_series(files[1:2], "recall@20", "weak"))
    with pytest.raises(AvrecError, match=r"no per_user.parquet was given"):
        read_series([], "recall@20")


def test_what_cannot_be_read_is_named(tmp_path, files):
    with pytest.raises(ArtefactError, match=r"1.parquet: no view 'als'; it has \['overall', 'same', 'weak'\]"):
        read_series(files[1:2], "recall@20", "als")
    with pytest.raises(ArtefactError, match=r"no column \['recall@7'\]"):
        read_series(files, "recall@7")
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"user_id": ["a"], "view": ["b"], "recall@20": [0.5]}), plain)
    with pytest.raises(ArtefactError, match=r"does not say what it is about. Give the per_user.parquet of a run"):
        read_series([plain], "recall@20")
    newer = write(tmp_path / "newer.parquet", {"overall": np.zeros(3)}, 1, format_version=2)
    with pytest.raises(ArtefactError, match="format version 2; this avrec reads version 1"):
        read_series([newer], "recall@20")
