import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from statsmodels.stats.proportion import proportion_confint

from hideseek.audit.bootstrap import Draws, intervals, mean_draws, metric_draws, resample_counts

CLASSES = ("normal", "pneumonia", "covid19")
COVIDX_PATIENTS = np.repeat(np.arange(274), [1] * 258 + [2] * 9 + [3] * 4 + [4] * 3)
"""The paper's test set: 100 images of COVID from 74 patients, 1 image of each other patient."""
COVIDX_LABELS = np.repeat([0, 1, 2], 100)


def cell(images=60, seed=0, decimals=16):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    scores = rng.dirichlet(np.ones(3), images).round(decimals)
    scores[:, 0] += 0.2 * (labels == 0)
    return labels, scores.argmax(axis=1), scores / scores.sum(axis=1, keepdims=True)


def test_patients_are_drawn_whole_and_as_many_as_there_are_in_each_class():
    counts = resample_counts(COVIDX_LABELS, COVIDX_PATIENTS, 500, seed=0)
    first = np.unique(COVIDX_PATIENTS, return_index=True)[1]
    assert counts.shape == (500, 300)
    assert (counts == counts[:, first][:, COVIDX_PATIENTS]).all()
    for label, patients in ((0, 100), (1, 100), (2, 74)):
        drawn = counts[:, first][:, COVIDX_LABELS[first] == label]
        assert (drawn.sum(axis=1) == patients).all()
    sizes = counts[:, 200:].sum(axis=1)
    assert sizes.min() < 100 < sizes.max()


def test_drawing_equals_drawing_patients_one_by_one():
    """The multiplicity of an image has the mean and variance of draws with replacement."""
    counts = resample_counts(np.zeros(5, dtype=int), ["a", "a", "b", "c", "d"], 20_000, seed=0)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 4, (20_000, 4))
    brute = np.stack([(drawn == patient).sum(axis=1) for patient in (0, 0, 1, 2, 3)], axis=1)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(np.cov(counts.T), np.cov(brute.T), atol=0.04)


def test_a_patient_with_several_labels_is_drawn_in_the_class_of_most_images():
    labels, patients = np.array([0, 1, 1, 0, 1, 0]), ["a", "a", "a", "b", "b", "c"]
    counts = resample_counts(labels, patients, 300, seed=0)
    assert (counts[:, 0] == 1).all()  # "a" alone is of class 1; the tie of "b" goes to class 0
    assert (counts[:, 3] + counts[:, 5] == 2).all()


def test_resamples_belong_to_the_patient_not_to_the_order_of_the_images():
    order = np.random.default_rng(0).permutation(300)
    counts = resample_counts(COVIDX_LABELS, COVIDX_PATIENTS, 50, seed=3)
    again = resample_counts(COVIDX_LABELS[order], COVIDX_PATIENTS[order], 50, seed=3)
    assert (counts[:, order] == again).all()
    assert (counts != resample_counts(COVIDX_LABELS, COVIDX_PATIENTS, 50, seed=4)).any()


@pytest.mark.parametrize("decimals", [16, 1])
def test_every_metric_of_a_resample_equals_scikit_learn_with_weights(decimals):
    labels, predictions, scores = cell(decimals=decimals)
    patients = np.arange(60) // 2
    counts = resample_counts(labels, patients, 700, seed=0)
    draws = metric_draws(labels, predictions, scores, counts, CLASSES)
    for row in (0, 511, 512, 699):
        images = np.repeat(np.arange(60), counts[row])  # brute force: each image as often as drawn
        true, guess, p = labels[images], predictions[images], scores[images]
        weight = counts[row]
        expected = {
            "accuracy": accuracy_score(labels, predictions, sample_weight=weight),
            "balanced_accuracy": balanced_accuracy_score(true, guess),
            "macro_f1": f1_score(labels, predictions, average="macro", sample_weight=weight),
            "macro_auc": roc_auc_score(labels, scores, multi_class="ovr", sample_weight=weight),
            "auc_covid19": roc_auc_score(true == 2, p[:, 2]),
            "sens_pneumonia": recall_score(true, guess, labels=[1], average=None)[0],
            "ppv_pneumonia": precision_score(true, guess, labels=[1], average=None)[0],
            "brier": ((p - np.eye(3)[true]) ** 2).sum(axis=1).mean(),
        }
        for name, value in expected.items():
            assert draws[name].values[row] == pytest.approx(value, abs=1e-12), name


def test_calibration_error_equals_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    labels, predictions, scores = cell(images=300)
    draws = metric_draws(labels, predictions, scores, np.ones((1, 300), dtype=int), CLASSES)
    reference = multiclass_calibration_error(
        torch.tensor(scores), torch.tensor(labels), num_classes=3, n_bins=15, norm="l1"
    )
    assert draws["ece"].estimate == pytest.approx(float(reference), abs=1e-6)


def test_values_worked_out_by_hand():
    """Four images: confidences .9 (right), .9 (wrong), .6 (right), .6 (right); two classes."""
    labels = np.array([0, 1, 1, 0])
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    counts = np.array([[1, 1, 1, 1], [2, 0, 1, 1], [1, 3, 0, 0]])
    draws = metric_draws(labels, scores.argmax(axis=1), scores, counts, ["a", "b"])
    assert draws["accuracy"].estimate == 0.75
    np.testing.assert_allclose(draws["accuracy"].values, [0.75, 1, 0.25])
    # One bin holds both .9 (right half of the time), one both .6 (always right).
    assert draws["ece"].estimate == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert draws["ece"].values[2] == pytest.approx(abs(1 - 4 * 0.9) / 4)
    assert draws["brier"].estimate == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)
    # Of a: {.9, .6} against b's {.9, .4}: a tie, a win, a loss, a win.
    assert draws["auc_a"].estimate == pytest.approx(2.5 / 4)
    assert draws["auc_a"].values[1] == pytest.approx(1)
    assert draws["auc_a"].values[2] == pytest.approx(0.5)
    assert draws["ppv_b"].estimate == 1 and np.isnan(draws["ppv_b"].values[2])


def test_what_is_not_defined_is_nan_and_does_not_spoil_the_interval():
    assert Draws(0.5, np.array([np.nan, 0.2, 0.4])).interval().high == pytest.approx(0.395)
    assert np.isnan(Draws(0.5, np.full(3, np.nan)).interval().low)
    labels, predictions, scores = cell()
    present = labels != 2
    counts = np.ones((1, present.sum()), dtype=int)
    draws = metric_draws(labels[present], predictions[present], scores[present], counts, CLASSES)
    assert np.isnan(draws["sens_covid19"].estimate) and np.isnan(draws["auc_covid19"].estimate)
    two = draws["auc_normal"].estimate + draws["auc_pneumonia"].estimate
    assert draws["macro_auc"].estimate == pytest.approx(two / 2)


def test_none_wrong_is_no_certainty():
    """Wilson's limit for 100 of 100 is 100 / (100 + 1.96 ** 2)."""
    draws = Draws(1.0, np.ones(50), images=100)
    assert draws.interval().low == pytest.approx(100 / (100 + 1.959964**2))
    assert draws.interval().high == pytest.approx(1)
    labels, _, scores = cell()
    counts = resample_counts(labels, np.arange(60), 50, seed=0)
    perfect = intervals(metric_draws(labels, labels, scores, counts, CLASSES))
    for name, images in (("accuracy", 60), ("sens_normal", 20), ("ppv_covid19", 20)):
        assert perfect[name].low == pytest.approx(images / (images + 1.959964**2))


@pytest.mark.parametrize("wrong", [0, 1, 3, 4])
def test_the_least_interval_equals_statsmodels(wrong):
    low, high = proportion_confint(100 - wrong, 100, method="wilson")
    interval = Draws(1 - wrong / 100, np.full(9, 1 - wrong / 100), images=100).interval()
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert Draws(0.95, np.full(9, 0.95), images=100).interval().low == 0.95


def test_draws_of_the_calibration_error_are_reflected():
    first, second = (Draws(e, np.array([e + 0.02, e + 0.04]), reflected=True) for e in (0.05, 0.01))
    assert first.interval(0.0).low == pytest.approx(0.02)
    assert second.interval().low == 0
    np.testing.assert_allclose((first - second).values, 0.04)
    uneven = Draws(0.05, np.array([0.08]), reflected=True) - Draws(0.01, np.array([0.02]))
    np.testing.assert_allclose(uneven.values, 2 * 0.04 - 0.06)


def test_pairs_and_seeds_are_combined_resample_by_resample():
    first, second = Draws(0.9, np.array([0.8, 1.0])), Draws(0.7, np.array([0.7, 0.9]))
    difference = first - second
    assert difference.estimate == pytest.approx(0.2)
    np.testing.assert_allclose(difference.values, 0.1)
    np.testing.assert_allclose(mean_draws([first, second]).values, [0.75, 0.95])
    assert intervals({"accuracy": difference})["accuracy"].low == pytest.approx(0.1)


def test_bad_input_is_named():
    labels, predictions, scores = cell()
    counts = np.ones((2, 60), dtype=int)
    with pytest.raises(ValueError, match="60 labels and 59 patients"):
        resample_counts(labels, np.arange(59), 10, seed=0)
    with pytest.raises(ValueError, match="shapes"):
        metric_draws(labels, predictions, scores, counts[:, 1:], CLASSES)
    with pytest.raises(ValueError, match="not finite"):
        metric_draws(labels, predictions, scores * np.nan, counts, CLASSES)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_metrics_stay_in_range_and_do_not_depend_on_the_order_of_images(seed, decimals):
    labels, predictions, scores = cell(30, seed, decimals)
    order = np.random.default_rng(seed).permutation(30)
    counts = resample_counts(labels, np.arange(30) // 3, 20, seed)
    draws = metric_draws(labels, predictions, scores, counts, CLASSES)
    again = metric_draws(
        labels[order], predictions[order], scores[order], counts[:, order], CLASSES
    )
    for name, metric in draws.items():
        np.testing.assert_allclose(metric.values, again[name].values, atol=1e-12)
        defined = metric.values[~np.isnan(metric.values)]
        assert (defined >= 0).all() and (defined <= (2 if name == "brier" else 1 + 1e-12)).all()


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [0.0, 0.5, 1.0])
def test_the_95_percent_interval_covers_the_true_accuracy(sharing):
    """300 images, 100 of them from 74 patients, whose images share their fate to some degree."""
    counts = resample_counts(COVIDX_LABELS, COVIDX_PATIENTS, 2000, seed=0)
    rng = np.random.default_rng(0)
    truth, covered, runs = 0.9, 0, 2000
    total = counts.sum(axis=1)
    for _ in range(runs):
        shared = rng.random(274)[COVIDX_PATIENTS]
        luck = np.where(rng.random(300) < sharing, shared, rng.random(300))
        right = (luck < truth).astype(float)
        interval = Draws(right.mean(), counts @ right / total).interval()
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / runs <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.8, 0.95, 0.98])
def test_the_interval_of_a_sensitivity_covers_it_near_one_too(truth):
    counts = resample_counts(COVIDX_LABELS, COVIDX_PATIENTS, 2000, seed=0)[:, 200:]
    rng = np.random.default_rng(0)
    covered, runs = 0, 1500
    for _ in range(runs):
        right = (rng.random(100) < truth).astype(float)
        draws = Draws(right.mean(), counts @ right / counts.sum(axis=1), images=100)
        covered += draws.interval().low <= truth <= draws.interval().high
    assert covered / runs >= 0.93


@pytest.mark.slow
def test_intervals_of_all_metrics_cover_the_values_of_the_population():
    """300 images; the calibration error is .025, of which percentile limits would cover nothing."""
    rng = np.random.default_rng(0)

    def sample(images):
        labels = np.arange(images) % 3
        logits = 1.5 * rng.normal(size=(images, 3)) + 2 * np.eye(3)[labels]
        scores = np.exp(logits)
        return labels, scores.argmax(axis=1), scores / scores.sum(axis=1, keepdims=True)

    one = np.ones((1, 300_000), dtype=int)
    truth = metric_draws(*sample(300_000), one, CLASSES)
    counts = resample_counts(np.arange(300) % 3, np.arange(300), 1000, seed=0)
    covered, runs = dict.fromkeys(truth, 0), 400
    for _ in range(runs):
        for name, interval in intervals(metric_draws(*sample(300), counts, CLASSES)).items():
            covered[name] += interval.low <= truth[name].estimate <= interval.high
    shares = {name: count / runs for name, count in covered.items()}
    assert truth["ece"].estimate == pytest.approx(0.025, abs=0.002)
    assert shares.pop("ece") >= 0.8
    assert min(shares.values()) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / runs), shares
