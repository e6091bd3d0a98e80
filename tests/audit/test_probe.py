from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import balanced_accuracy_score

from hideseek.audit.excess import Counts
from hideseek.audit.probe import probe
from hideseek.errors import UserError

Array = npt.NDArray[np.float64]


def planted(
    strength: float, levels: tuple[int, ...] = (40, 40, 40), images: int = 2, seed: int = 0
) -> tuple[Array, list[str], list[str]]:
    """Patients of each level; their features are noise, and one of 12 a sign of each level."""
    rng = np.random.default_rng(seed)
    level = np.repeat(np.arange(len(levels)), np.array(levels) * images)
    patient = np.repeat(np.arange(sum(levels)), images)
    features = rng.normal(size=(len(level), 12))
    features[np.arange(len(level)), level] += strength
    return features, [f"s{n}" for n in level], [f"p{n}" for n in patient]


def draw(patients: list[str], resamples: int = 200) -> Counts:
    names, member = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return times[:, member].astype(np.uint16)


def test_a_planted_source_is_found() -> None:
    features, source, patients = planted(strength=8)
    # The scale of a feature is the network's accident.
    found = probe(features * np.logspace(-3, 3, 12), source, patients, counts=draw(patients))
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy.value is not None
    assert found.balanced_accuracy.value > 0.98
    assert found.verdict == "above chance"
    assert found.chance == pytest.approx(1 / 3)
    assert (found.levels, found.images, found.patients) == (("s0", "s1", "s2"), 240, 120)


def test_noise_is_chance_within_the_interval() -> None:
    above = 0
    for seed in range(8):
        features, source, patients = planted(strength=0, seed=seed)
        found = probe(features, source, patients, counts=draw(patients), seed=seed)
        assert found.balanced_accuracy is not None
        assert found.balanced_accuracy.low is not None
        assert found.balanced_accuracy.high is not None
        assert found.balanced_accuracy.high - found.balanced_accuracy.low < 0.25
        above += found.verdict == "above chance"
    assert above <= 1


def test_a_rare_level_counts_like_a_common_one() -> None:
    # 90 % of one level: guessing it is right nine times of ten and worth 1/2.
    features, source, patients = planted(strength=0, levels=(180, 20), images=1)
    found = probe(features, source, patients, counts=draw(patients))
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy.value == pytest.approx(0.5, abs=0.15)
    assert found.chance == 0.5
    assert found.balanced_accuracy.value == pytest.approx(
        np.mean([each.value for each in found.sensitivity])
    )


def test_a_rare_level_is_found_too() -> None:
    features, source, patients = planted(strength=1.5, levels=(270, 30), images=1)
    found = probe(features, source, patients)
    assert found.sensitivity[1].value is not None
    assert found.sensitivity[1].value > 0.6  # without equal weights 0.3


def test_a_patient_is_never_fitted_and_judged() -> None:
    # Each patient is a point of its own, far from the others; levels are dealt by chance. Split by
    # image, the twin of every image would be known.
    rng = np.random.default_rng(1)
    level = rng.permutation(np.repeat(["x", "y"], 30))
    features = np.repeat(rng.normal(size=(60, 200)), 4, axis=0)
    patients = [f"p{number}" for number in np.repeat(np.arange(60), 4)]
    found = probe(features, np.repeat(level, 4).tolist(), patients)
    alone = probe(features, np.repeat(level, 4).tolist(), [f"i{n}" for n in range(240)])
    assert found.balanced_accuracy is not None
    assert alone.balanced_accuracy is not None
    assert found.balanced_accuracy.value is not None
    assert found.balanced_accuracy.value < 0.75
    assert alone.balanced_accuracy.value is not None
    assert alone.balanced_accuracy.value > 0.95
    assert found.verdict == "no interval"


def test_given_rows_are_fitted_and_the_others_judged() -> None:
    features, source, patients = planted(strength=2)
    train = np.arange(240) % 80 < 56
    found = probe(features, source, patients, train=train, counts=draw(patients))
    assert found.images == 240 - 3 * 56
    assert found.patients == found.images // 2
    # What lies in the judged rows cannot change the fit: spoil the fitted ones, and it is chance.
    spoilt = features.copy()
    spoilt[train] = np.random.default_rng(3).normal(size=(train.sum(), 12))
    again = probe(spoilt, source, patients, train=train)
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy.value is not None
    assert found.balanced_accuracy.value > 0.75
    assert again.balanced_accuracy is not None
    assert again.balanced_accuracy.value is not None
    assert again.balanced_accuracy.value < 0.6


def test_labels_alone_tell_sources_apart_that_differ_in_labels() -> None:
    # 80 % of x and 20 % of y are ill: the label alone gives (0.8 + 0.8) / 2.
    ill = np.array([1] * 40 + [0] * 10 + [1] * 10 + [0] * 40)
    source = ["x"] * 50 + ["y"] * 50
    patients = [f"p{number}" for number in range(100)]
    found = probe(np.eye(2)[ill], source, patients)
    assert found.balanced_accuracy is not None
    assert found.balanced_accuracy.value == pytest.approx(0.8)
    called = np.where(ill == 1, "x", "y")
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(source, called))


def test_levels_with_few_patients_are_left_out() -> None:
    features, source, patients = planted(strength=8, levels=(20, 9, 20), images=3)
    found = probe(features, source, patients, counts=draw(patients))
    assert found.levels == ("s0", "s2")
    assert found.left_out == (("s1", 9),)
    assert found.chance == 0.5
    assert found.images == 120


def test_one_level_is_not_identifiable() -> None:
    features, source, patients = planted(strength=8, levels=(20, 9), images=3)
    found = probe(features, source, patients, counts=draw(patients))
    assert found.verdict == "not identifiable"
    assert (found.balanced_accuracy, found.chance) == (None, None)
    # Enough patients to fit, but not to judge.
    features, source, patients = planted(strength=8, levels=(40, 14), images=1)
    found = probe(features, source, patients, train=np.arange(54) % 4 > 0)
    assert found.left_out == (("s1", 4),)
    assert found.verdict == "not identifiable"


def test_mistakes_are_named() -> None:
    features, source, patients = planted(strength=1)
    features[4, 0] = np.nan
    with pytest.raises(UserError, match="image 5"):
        probe(features, source, patients)
    features, source, patients = planted(strength=1)
    with pytest.raises(UserError, match="patient 'p0'"):
        probe(features, source, patients, train=np.arange(240) % 2 == 0)
    with pytest.raises(ValueError, match="239 levels"):
        probe(features, source[1:], patients)


def test_the_folds_follow_the_seed() -> None:
    features, source, patients = planted(strength=0.5)
    one, again, other = (probe(features, source, patients, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one != other
