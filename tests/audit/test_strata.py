from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hideseek.audit.excess import Counts
from hideseek.audit.strata import separate_within, separations, strata_table
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")


def table(
    label: list[str], source: list[str], first: list[float], classes: tuple[str, ...] = ("a", "b")
) -> pl.DataFrame:
    """Two classes, of which the first has the probability given; a patient an image."""
    one, other = classes
    return pl.DataFrame(
        {
            "label": label,
            "source": source,
            "patient_id": [f"p{number}" for number in range(len(label))],
            f"p_{one}": first,
            f"p_{other}": [1 - value for value in first],
        }
    )


def draw(images: int, resamples: int, seed: int = 0) -> Counts:
    """Resample images, each a patient of its own."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.uint16)


def test_mantel_haenszel_by_hand() -> None:
    # Stratum x: 2 a at .8 and .4, 2 b at .6 and .2: three of four pairs in order, AUC 3/4, and
    # weight 2 * 2 / 4 = 1; right are .8 and .2, so accuracy 1/2.
    # Stratum y: 1 a at .7, 3 b at .7 (half), .9 (none) and .1 (one): AUC 1.5/3 = 1/2, weight
    # 1 * 3 / 4; right are a and the b at .1: accuracy 2/4, balanced (1 + 1/3)/2 = 2/3.
    # Pooled: (1 * .75 + .75 * .5) / 1.75 = 9/14; balanced (1 * .5 + .75 * 2/3) / 1.75 = 4/7.
    label = ["a", "a", "b", "b", "a", "b", "b", "b", "a"]
    source = ["x"] * 4 + ["y"] * 4 + ["z"]
    rows = table(label, source, [0.8, 0.4, 0.6, 0.2, 0.7, 0.7, 0.9, 0.1, 0.0])
    (pair,) = separate_within(rows, ("a", "b"))
    assert pair.within is not None
    assert [name for name, _ in pair.strata] == ["x", "y"]
    assert [part.auc.value for _, part in pair.strata] == [0.75, 0.5]
    assert pair.within.auc.value == pytest.approx(9 / 14)
    assert pair.within.accuracy.value == pytest.approx(0.5)
    assert pair.within.balanced_accuracy.value == pytest.approx(4 / 7)
    assert pair.within.images == (3, 5)  # the image of z counts nowhere but overall
    assert pair.overall.images == (4, 5)
    assert pair.lacking == (("z", "b"),)
    assert pair.verdict == "weakly"


def test_a_gain_of_the_source_is_worth_nothing_within() -> None:
    # Each hospital has 90 % of one class; the network tells the hospitals, and noise within them.
    rng = np.random.default_rng(0)
    source = np.repeat(["x", "y"], 200)
    label = np.where((rng.random(400) < 0.9) == (source == "x"), "a", "b")
    first = np.where(source == "x", 0.8, 0.2) + rng.uniform(-0.1, 0.1, 400)
    rows = table(label.tolist(), source.tolist(), first.tolist())
    (pair,) = separate_within(rows, ("a", "b"), counts=draw(400, 500))
    assert pair.verdict == "identifiable"
    assert pair.within is not None
    assert pair.overall.auc.value is not None
    assert pair.overall.auc.value > 0.85
    auc, balanced = pair.within.auc, pair.within.balanced_accuracy
    assert auc.low is not None
    assert auc.high is not None
    assert auc.low < 0.5 < auc.high
    assert 0.05 < auc.high - auc.low < 0.3
    assert balanced.value == pytest.approx(0.5)  # one decision within a source
    # Plain accuracy still shows the prevalence, which is why it is not reported alone.
    assert pair.within.accuracy.value == pytest.approx(0.9, abs=0.03)


def test_only_the_source_differs() -> None:
    # All of a from x, but for 20 that x shares with b; the network knows the source alone.
    label = ["a"] * 100 + ["b"] * 20 + ["b"] * 100
    source = ["x"] * 120 + ["y"] * 100
    rows = table(label, source, [0.9] * 120 + [0.1] * 100)
    (pair,) = separate_within(rows, ("a", "b"))
    assert pair.within is not None
    assert pair.within.auc.value == 0.5
    assert pair.overall.auc.value == pytest.approx((100 * 100 + 20 * 100 / 2) / (100 * 120))
    assert pair.lacking == (("y", "a"),)


def test_covidx_like_counts() -> None:
    # Of the test list: normal from RSNA alone, covid19 from elsewhere alone.
    cells = [("normal", "rsna", 100), ("pneumonia", "rsna", 96), ("pneumonia", "cohen", 4),
             ("covid19", "cohen", 39), ("covid19", "sirm", 61)]  # fmt: skip
    label = [name for name, _, count in cells for _ in range(count)]
    source = [name for _, name, count in cells for _ in range(count)]
    rows = pl.DataFrame(
        {
            "label": label,
            "source": source,
            "patient_id": [f"p{number}" for number in range(len(label))],
            **{f"p_{name}": [float(name == each) for each in label] for name in CLASSES},
        }
    )
    pairs = {pair.classes: pair for pair in separate_within(rows, CLASSES, counts=draw(300, 50))}
    apart = pairs["normal", "covid19"]
    assert (apart.verdict, apart.within, apart.strata) == ("not", None, ())
    assert apart.lacking == (("cohen", "normal"), ("rsna", "covid19"), ("sirm", "normal"))
    assert apart.overall.auc.value == 1.0
    assert pairs["pneumonia", "covid19"].verdict == "weakly"
    assert [name for name, _ in pairs["pneumonia", "covid19"].strata] == ["cohen"]
    assert pairs["normal", "pneumonia"].verdict == "identifiable"
    report = strata_table(tuple(pairs.values()))
    row = report.filter(
        (pl.col("class_b") == "covid19")
        & (pl.col("class_a") == "normal")
        & (pl.col("stratum") == "within strata")
    )
    assert row.select("images_a", "auc", "auc_low", "accuracy").row(0) == (None,) * 4
    assert report.height == 3 + 3 + 2


@pytest.mark.parametrize(("patients", "verdict"), [(10, "identifiable"), (9, "weakly")])
def test_patients_make_the_verdict_not_images(patients: int, verdict: str) -> None:
    rows = table(["a"] * 30 + ["b"] * 30, ["x"] * 60, [0.5] * 60)
    mine = [f"a{n}" for n in range(30)] + [f"b{n % patients}" for n in range(30)]
    (pair,) = separate_within(rows.with_columns(pl.Series("patient_id", mine)), ("a", "b"))
    assert pair.verdict == verdict
    assert pair.overall.patients == (30, patients)
    # Undecided throughout: half right.
    assert pair.overall.accuracy.value == pair.overall.balanced_accuracy.value == 0.5


def test_equal_odds_are_a_tie() -> None:
    # 1 : 2 each time, of what a third class leaves over; the quotients differ in the last digit.
    rows = table(["a", "b", "a", "b"], ["x"] * 4, [0.1, 0.2, 0.3, 0.7 / 3])
    rows = rows.with_columns((pl.col("p_a") * 2).alias("p_b"))
    (pair,) = separate_within(rows, ("a", "b"))
    assert pair.overall.auc.value == 0.5


def test_an_absent_class_is_no_error() -> None:
    rows = table(["a", "a"], ["x", "y"], [0.9, 0.8])
    (pair,) = separate_within(rows, ("a", "b"), counts=draw(2, 5))
    assert pair.verdict == "not"
    assert pair.overall.auc.value is None
    assert pair.overall.accuracy.value is None


def test_strata_by_two_columns_and_text_from_a_file() -> None:
    rows = table(["a", "b", "a", "b"], ["x", "x", "x", "x"], [0.9, 0.1, 0.2, 0.4])
    rows = rows.with_columns(pl.Series("view", ["AP", "AP", None, ""])).cast(pl.String)
    (pair,) = separate_within(rows, ("a", "b"), by=("source", "view"))
    assert [name for name, _ in pair.strata] == ["x", "x AP"]
    assert [part.auc.value for _, part in pair.strata] == [0.0, 1.0]


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, None])
def test_a_diverged_network_is_named(wrong: float | None) -> None:
    rows = table(["a", "b"], ["x", "x"], [0.9, 0.1])
    rows = rows.with_columns(pl.Series("p_a", [0.9, wrong], pl.Float64))
    with pytest.raises(UserError, match="row 2"):
        separate_within(rows, ("a", "b"))


def test_an_image_without_patients_of_the_other_class_has_no_interval() -> None:
    # One b: a third of the resamples lack it, so an interval would describe only the others.
    rows = table(["a"] * 5 + ["b"], ["x"] * 6, [0.9, 0.8, 0.7, 0.6, 0.2, 0.3])
    (pair,) = separate_within(rows, ("a", "b"), counts=draw(6, 300))
    assert pair.within is not None
    assert pair.within.auc.value == pytest.approx(0.8)
    assert pair.within.auc.low is None


SCORES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=40
).filter(lambda rows: len({positive for positive, _ in rows}) == 2)  # fmt: skip


@given(SCORES)
@settings(max_examples=60, deadline=None)
def test_one_stratum_is_the_auc_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([side for side, _ in rows])
    score = np.array([value / 8 for _, value in rows])
    labels = np.where(positive, "a", "b").tolist()
    (pair,) = separate_within(table(labels, ["x"] * len(rows), score.tolist()), ("a", "b"))
    expected = roc_auc_score(positive, score)
    assert pair.overall.auc.value == pytest.approx(expected, abs=1e-12)
    assert pair.within is not None
    assert pair.within.auc.value == pytest.approx(expected, abs=1e-12)


@given(SCORES, st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_a_resample_is_the_repeated_images(rows: list[tuple[bool, int]], seed: int) -> None:
    positive = np.array([side for side, _ in rows])
    score = np.array([value / 8 for _, value in rows])
    counts = draw(len(rows), 3, seed)
    found = separations(score, positive, counts)
    for resample, count in enumerate(counts):
        again = np.repeat(np.arange(len(rows)), count)
        expected = separations(score[again], positive[again])
        np.testing.assert_allclose(found[1 + resample], expected[0], atol=1e-12)


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    score, positive = np.linspace(0, 1, 12), np.arange(12) % 3 > 0
    counts = draw(12, 11)
    whole = separations(score, positive, counts)
    monkeypatch.setattr("hideseek.audit.excess._BLOCK", 24)
    np.testing.assert_array_equal(separations(score, positive, counts), whole)
    wins = sum(
        (a > b) + (a == b) / 2 for a, b in product(score[positive], score[~positive])
    )  # fmt: skip
    assert whole[0, 0] == pytest.approx(wins / (positive.sum() * (~positive).sum()))
