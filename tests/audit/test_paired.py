import itertools
from math import comb
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import multinomial, norm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from hideseek.audit.bootstrap import Draws, resample_counts
from hideseek.audit.paired import (
    compare,
    decide,
    delong,
    delong_test,
    holm,
    mcnemar,
    score_tost,
    sign_flip,
    tost,
)
from hideseek.audit.power import (
    detectable_difference,
    equivalence_images,
    mcnemar_power,
    provable_margin,
)

SIZES = [1] * 258 + [2] * 9 + [3] * 4 + [4] * 3
PATIENTS = np.repeat(np.arange(274), SIZES)
LABELS = np.repeat([0, 1, 2], 100)


@pytest.fixture(scope="module")
def counts():
    return resample_counts(LABELS, PATIENTS, 2000, seed=0)


def right(wrong, seeds=1):
    """Rows of correctness, wrong on the given images."""
    rows = np.ones((seeds, 300), dtype=bool)
    rows[:, wrong] = False
    return rows


@pytest.mark.parametrize(
    ("b", "c", "p", "mid_p"),
    # By hand, of 2 ** (b + c) equally likely ways: those as unlikely, and half of the observed.
    [(2, 0, 0.5, 0.25), (0, 0, 1, 0.5), (1, 1, 1, 0.75), (5, 1, 14 / 64, 8 / 64), (1, 0, 1, 0.5)],
)
def test_mcnemar_by_hand(b, c, p, mid_p):
    assert mcnemar(b, c) == mcnemar(c, b) == pytest.approx(p)
    assert mcnemar(b, c, mid_p=True) == pytest.approx(mid_p)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_statsmodels(b, c):
    reference = 1.0 if b == c else statsmodels_mcnemar([[0, b], [c, 0]], exact=True).pvalue
    assert mcnemar(b, c) == pytest.approx(reference)
    assert 0 <= mcnemar(b, c, mid_p=True) < mcnemar(b, c)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
def test_holm_equals_statsmodels(p):
    with patch("gc.collect"):  # statsmodels collects garbage in every call, which takes seconds
        reference = multipletests(p, method="holm")[1]
    np.testing.assert_allclose(holm(p), reference, atol=1e-12)


def test_holm_by_hand_and_of_what_is_no_p():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])
    with pytest.raises(ValueError, match=r"not in 0\.\.1"):
        holm([0.1, float("nan")])


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=10), st.integers(0, 1000))
def test_swapping_patients_equals_all_swaps_one_by_one(thirds, seed):
    gains, patients = np.array(thirds) / 3, np.random.default_rng(seed).integers(0, 6, len(thirds))
    sums = np.array([sum(np.array(thirds)[patients == p]) for p in range(6)])
    swaps = [abs(sum(sums * signs)) for signs in itertools.product((-1, 1), repeat=6)]
    expected = np.mean([swap >= abs(sums.sum()) for swap in swaps])
    assert sign_flip(gains, patients, seed=0) == pytest.approx(expected)


def test_swapping_images_of_different_patients_is_mcnemar(counts):
    gains = np.repeat([-1.0, 1.0, 0.0], [14, 5, 281])
    order = np.arange(300)
    assert sign_flip(gains, order, seed=0) == pytest.approx(mcnemar(14, 5), abs=0.01)
    comparison = compare(right(slice(5)), right(slice(100, 114)), PATIENTS, counts, margin=0.02)
    assert (comparison.test, comparison.p) == ("exact McNemar", mcnemar(14, 5))
    assert (comparison.better, comparison.worse, comparison.images) == (5, 14, 300)


def test_images_of_one_patient_are_one_observation(counts):
    """Three patients with four images each, all lost: 12 images, but 3 swaps, p = 2 / 2 ** 3."""
    comparison = compare(right([]), right(slice(288, 300)), PATIENTS, counts, margin=0.02)
    assert comparison.test == "permutation of patients"
    assert comparison.p == pytest.approx(0.25)
    assert mcnemar(12, 0) < 0.001


def test_seeds_are_averaged_within_an_image_and_are_no_more_images(counts):
    first, second = right([0, 1]), right(slice(20, 40))
    one = compare(first, second, PATIENTS, counts, margin=0.02)
    three = compare(first.repeat(3, 0), second.repeat(3, 0), PATIENTS, counts, margin=0.02)
    assert one == three
    mixed = np.concatenate([second, first, first])
    third = compare(first, mixed, PATIENTS, counts, margin=0.02)
    assert third.difference.estimate == pytest.approx(one.difference.estimate / 3)
    assert third.difference.low == pytest.approx(one.difference.low / 3)
    assert third.test == "permutation of patients"


def delong_by_definition(positive, scores):
    """Structural components of every pair, as DeLong, DeLong and Clarke-Pearson define them."""
    pairs = scores[:, positive][:, :, None] - scores[:, ~positive][:, None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    ones, zeros = wins.mean(axis=2), wins.mean(axis=1)
    return ones.mean(axis=1), np.cov(ones) / ones.shape[1] + np.cov(zeros) / zeros.shape[1]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_delong_equals_its_definition_and_scikit_learn(seed, decimals):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(40) < 15)
    scores = (rng.normal(size=(3, 40)) + positive).round(decimals)
    areas, covariance = delong(positive, scores)
    expected = delong_by_definition(positive, scores)
    np.testing.assert_allclose(areas, expected[0], atol=1e-12)
    np.testing.assert_allclose(covariance, expected[1], atol=1e-12)
    assert areas[0] == pytest.approx(roc_auc_score(positive, scores[0]))


def test_delong_variance_by_hand_and_where_there_is_none():
    """Positives 1, 3 and negatives 0, 2: area 3/4; components (1/2, 1) and (1, 1/2)."""
    positive = np.array([True, True, False, False])
    first = np.array([1.0, 3, 0, 2])
    areas, covariance = delong(positive, first[None])
    assert areas[0] == 0.75
    assert covariance[0, 0] == pytest.approx(0.125 / 2 + 0.125 / 2)
    assert delong_test(positive, first, first) == 1
    assert np.isnan(delong_test(positive, np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])))


@given(st.integers(0, 1000), st.floats(0.001, 0.1))
def test_bootstrap_equivalence_is_the_90_percent_interval_inside_the_margin(seed, margin):
    values = np.random.default_rng(seed).normal(0.01, 0.02, 1999)
    draws = Draws(0.01, values)
    interval = draws.interval(0.90)
    inside = -margin < interval.low and interval.high < margin
    nearest = min(abs(margin + interval.low), abs(margin - interval.high))
    if nearest > 1e-4:  # a resample or two decide at the very border
        assert (tost(draws, margin) <= 0.05) == inside


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 0), (0, 3), (12, 12), (20, 8)])
def test_score_is_the_likelihood_under_a_difference_of_the_margin(better, worse):
    """Tango: the rarer discordant share maximises the likelihood of the three counts."""
    images, margin = 300, 0.02
    scores = []
    for up, down in ((better, worse), (worse, better)):

        def unlikely(q, up=up, down=down):
            shares = [q + margin, q, 1 - 2 * q - margin]
            return -multinomial.logpmf([up, down, images - up - down], images, shares)

        q = minimize_scalar(
            unlikely, bounds=(1e-9, 0.4), method="bounded", options={"xatol": 1e-10}
        ).x
        z = (up - down - images * margin) / np.sqrt(images * (2 * q + margin * (1 - margin)))
        scores.append(z)
    assert score_tost(better, worse, images, margin) == pytest.approx(
        norm.cdf(max(scores)), abs=1e-5
    )


def test_no_image_that_differs_is_no_proof_in_a_small_test_set():
    """The bootstrap interval has width 0 here; 50 images cannot exclude a loss of 2 in 100."""
    patients = np.arange(50)
    counts = resample_counts(np.zeros(50, dtype=int), patients, 500, seed=0)
    same = np.ones((1, 50), dtype=bool)
    small = compare(same, same, patients, counts, margin=0.02)
    assert small.within.low == small.within.high == 0
    assert decide([small]) == ["inconclusive"]


def test_decisions(counts):
    lost = compare(right([]), right(slice(0, 30)), PATIENTS, counts, margin=0.05)
    few = compare(right([0]), right([1]), PATIENTS, counts, margin=0.05)
    unclear = compare(right(slice(10)), right(slice(100, 120)), PATIENTS, counts, margin=0.05)
    slight = compare(right([]), right(slice(0, 6)), PATIENTS, counts, margin=0.05)
    assert decide([lost, few, unclear]) == ["different", "equivalent", "inconclusive"]
    assert slight.p < 0.05 and decide([slight]) == ["equivalent"]
    close = compare(right([]), right(slice(0, 6)), PATIENTS, counts, margin=0.02)
    assert decide([close]) == ["different"]
    assert decide([close] * 2) == ["inconclusive"] * 2  # Holm: 2 * 2 / 2 ** 6 > .05
    with pytest.raises(ValueError, match="margin"):
        compare(right([]), right([]), PATIENTS, counts, margin=0)


def test_power_equals_the_sum_over_all_tables():
    images, loss, discordance = 30, 0.2, 0.4
    up, down = (discordance - loss) / 2, (discordance + loss) / 2
    power = 0.0
    for b in range(images + 1):
        for c in range(images + 1 - b):
            if mcnemar(b, c) <= 0.05:
                ways = comb(images, b) * comb(images - b, c)
                power += ways * down**b * up**c * (1 - discordance) ** (images - b - c)
    assert mcnemar_power(images, loss, discordance) == pytest.approx(power)
    assert mcnemar_power(images, -loss, discordance) == pytest.approx(power)


def test_what_300_images_can_show():
    assert mcnemar_power(300, 0.02, 0.08) == pytest.approx(0.170, abs=0.001)
    assert mcnemar_power(300, 0.05, 0.10) == pytest.approx(0.744, abs=0.001)
    assert mcnemar_power(300, 0, 0.08) < 0.05
    least = detectable_difference(300, 0.08)
    assert mcnemar_power(300, least, 0.08) == pytest.approx(0.8, abs=1e-6)
    assert np.isnan(detectable_difference(300, 0.01))
    assert equivalence_images(0.02, 0.08) == 1713
    assert provable_margin(300, 0.08) == pytest.approx(0.0478, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [0.0, 0.5, 1.0])
def test_null_pairs_are_called_different_at_most_one_time_in_twenty(sharing):
    """Two cells that differ on 20 % of the images by luck, shared by a patient's images or not."""
    rng = np.random.default_rng(0)
    hits, runs = 0, 400
    counts = resample_counts(LABELS, PATIENTS, 10, seed=0)
    for run in range(runs):
        luck = np.where(rng.random(300) < sharing, rng.random(274)[PATIENTS], rng.random(300))
        pair = compare(luck < 0.9, luck > 0.1, PATIENTS, counts, margin=0.02, seed=run)
        hits += pair.p <= 0.05
    assert hits / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.slow
def test_equal_areas_are_called_different_one_time_in_twenty():
    rng = np.random.default_rng(0)
    positive = LABELS == 2
    runs = 2000
    common = rng.normal(size=(runs, 1, 300)) + 1.5 * positive
    scores = common + rng.normal(size=(runs, 2, 300))
    hits = sum(delong_test(positive, *pair) <= 0.05 for pair in scores)
    assert hits / runs == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / runs))


@pytest.mark.slow
def test_a_loss_of_the_margin_is_called_equivalent_at_most_one_time_in_twenty():
    counts = resample_counts(LABELS, PATIENTS, 1000, seed=0)
    rng = np.random.default_rng(0)
    runs = 1000
    for discordance in (0.02, 0.08):
        hits = 0
        for _ in range(runs):
            luck = rng.random(300)
            lost, won = luck < (discordance + 0.02) / 2, luck > 1 - (discordance - 0.02) / 2
            pair = compare(~won, ~lost, PATIENTS, counts, margin=0.02)
            hits += pair.p_equivalent <= 0.05
        assert hits / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
