from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

from hideseek.audit.conditional import ConditionalTest, Permuted, conditional_test
from hideseek.data.confounding import mutual_information
from hideseek.errors import UserError

CLASSES = ("a", "b")


def table(
    label: list[str], source: list[str], first: list[float], patient: list[str] | None = None
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "label": label,
            "source": source,
            "patient_id": patient or [f"p{number}" for number in range(len(label))],
            "p_a": first,
            "p_b": [1 - value for value in first],
        }
    )


def confounded(rng: np.random.Generator, lung: float, images: int = 120) -> pl.DataFrame:
    """Two hospitals, 80 % and 20 % ill; a network that reads hospital, noise, and maybe lung."""
    source = rng.integers(0, 2, images)
    ill = rng.random(images) < np.where(source == 1, 0.8, 0.2)
    logit = 1.5 * (2 * source - 1) + rng.normal(0, 1.5, images) + lung * (2 * ill - 1)
    first = 1 / (1 + np.exp(-logit))
    names = [np.where(flag, *pair).tolist() for flag, pair in ((ill, "ab"), (source == 1, "xy"))]
    return table(names[0], names[1], first.tolist())


def parts(test: ConditionalTest) -> tuple[Permuted, Permuted, Permuted]:
    assert test.accuracy is not None
    assert test.log_loss is not None
    assert test.bits is not None
    return test.accuracy, test.log_loss, test.bits


def test_a_network_that_reads_the_source_gives_uniform_p() -> None:
    rng = np.random.default_rng(1)
    found = [
        parts(conditional_test(confounded(rng, lung=0), CLASSES, permutations=2000, seed=run))
        for run in range(200)
    ]
    loss = [each[1].p for each in found]
    assert kstest(loss, "uniform").pvalue > 0.05
    # Few values of accuracy and bits are tied, so their p lie at or above the uniform.
    for number in (0, 2):
        assert np.mean([each[number].p <= 0.05 for each in found]) <= 0.05 + 2 * 0.0154
    # What is right by the source is expected, not held against the labels.
    assert np.mean([each[0].value for each in found]) > 0.65
    assert abs(np.mean([each[0].value - each[0].expected for each in found])) < 0.01
    assert abs(np.mean([each[2].value - each[2].expected for each in found])) < 0.003


def test_a_network_that_reads_the_lung_gives_the_least_p() -> None:
    test = conditional_test(confounded(np.random.default_rng(2), lung=2), CLASSES)
    assert [each.p for each in parts(test)] == [1 / 2001] * 3
    assert test.net_bits is not None
    assert test.net_bits > 0.1


def test_the_source_alone_ties_with_every_permutation() -> None:
    test = conditional_test(
        table(["a", "a", "b", "b", "a", "b"], list("xxxyyy"), [0.9, 0.9, 0.9, 0.1, 0.1, 0.1]),
        CLASSES,
        permutations=50,
    )
    # 2 of x and 2 of y are right whoever is who; no information, no surprise.
    assert parts(test) == (
        Permuted(pytest.approx(4 / 6), pytest.approx(4 / 6), 1.0),
        Permuted(
            pytest.approx(-(4 * np.log(0.9) + 2 * np.log(0.1)) / 6), pytest.approx(0.837, abs=5e-3),
            1.0,
        ),
        Permuted(0.0, 0.0, 1.0),
    )  # fmt: skip


def test_p_is_the_share_of_all_orders() -> None:
    # 2 of 4 are ill and found: one of the 6 ways of choosing them is as good, by hand.
    test = conditional_test(
        table(["a", "a", "b", "b"], ["x"] * 4, [0.9, 0.8, 0.3, 0.2]), CLASSES, permutations=20000
    )
    accuracy, loss, bits = parts(test)
    assert accuracy.p == pytest.approx(1 / 6, abs=0.008)
    assert loss.p == pytest.approx(1 / 6, abs=0.008)
    assert bits.p == pytest.approx(2 / 6, abs=0.01)  # all wrong tells as much as all right
    # Of the 6, one has 4 right, four have 2, one has none; 1 bit at either end, else 0.
    assert accuracy.expected == pytest.approx(0.5, abs=0.01)
    assert bits.expected == pytest.approx(1 / 3, abs=0.01)
    assert bits.value == pytest.approx(1.0)


def test_bits_by_stratum() -> None:
    rng = np.random.default_rng(3)
    label, source, first = rng.choice(["a", "b"], 60), rng.choice(["x", "y"], 60), rng.random(60)
    test = conditional_test(table(label.tolist(), source.tolist(), first.tolist()), CLASSES)
    expected = 0.0
    for name in "xy":
        rows = source == name
        counts = np.array(
            [[(rows & (label == one) & ((first >= 0.5) == call)).sum() for call in (True, False)]
             for one in CLASSES]
        )  # fmt: skip
        expected += rows.mean() * mutual_information(counts)
    assert parts(test)[2].value == pytest.approx(expected)


def test_patients_are_exchanged_whole_and_weigh_the_same() -> None:
    # Ill patients have ten images, healthy ones one. The network always says ill: it is right for
    # 10 of 11 images but half of the patients, and no permutation is worse.
    label = ["a"] * 40 + ["b"] * 4
    patient = [f"a{number // 10}" for number in range(40)] + [f"b{number}" for number in range(4)]
    test = conditional_test(table(label, ["x"] * 44, [0.9] * 44, patient), CLASSES)
    accuracy, loss, _ = parts(test)
    assert test.patients == 8
    assert accuracy == Permuted(0.5, 0.5, 1.0)
    assert loss.p == 1.0


def test_clusters_do_not_raise_false_alarms() -> None:
    # Ten images a patient, all classified alike by chance: as images, far too certain.
    rng = np.random.default_rng(4)
    rejected = {"patients": 0, "images": 0}
    for run in range(60):
        label = np.repeat(rng.permutation(["a"] * 10 + ["b"] * 10), 10).tolist()
        first = np.repeat(rng.random(20), 10).clip(0.05, 0.95).tolist()
        patient = [f"p{number // 10}" for number in range(200)]
        for name, given in (("patients", patient), ("images", None)):
            test = conditional_test(
                table(label, ["x"] * 200, first, given), CLASSES, permutations=199, seed=run
            )
            rejected[name] += parts(test)[1].p <= 0.05
    assert rejected["patients"] <= 7  # 60 * 0.05 = 3; more than 7 has a probability of 1 %
    assert rejected["images"] > 9  # ten times the variance: 60 * P(Z > 1.64 / 3.16) = 18


def test_views_of_a_patient_are_averaged_first() -> None:
    # The network reads the view. Ill patients have more AP images, but all have both views.
    label, view, patient = [], [], []
    for number in range(12):
        ill = number < 6
        mine = ["AP"] * (4 if ill else 1) + ["PA"] * (1 if ill else 4)
        view += mine
        label += ["a" if ill else "b"] * 5
        patient += [f"p{number}"] * 5
    rows = table(label, ["x"] * 60, [0.9 if each == "AP" else 0.1 for each in view], patient)
    rows = rows.with_columns(pl.Series("view", view))
    test = conditional_test(rows, CLASSES, by=("source", "view"), permutations=100)
    assert [each.p for each in parts(test)] == [1.0] * 3
    assert parts(test)[0].value == pytest.approx(0.5)  # right on one view of every patient
    # By source alone the view is information, and the test says so.
    given_source = conditional_test(rows, CLASSES, permutations=1000)
    assert parts(given_source)[1].p < 0.01


def test_nothing_to_exchange_is_not_identifiable() -> None:
    rows = table(["a", "a", "b"], ["x", "x", "y"], [0.9, 0.9, 0.1])
    assert conditional_test(rows, CLASSES) == ConditionalTest(
        ("source",), 0, 3, 0, 2000, None, None, None
    )
    # One stratum of one label beside one of two: it is set aside.
    more = conditional_test(
        table(["a", "a", "b", "b"], ["x", "x", "y", "x"], [0.9, 0.9, 0.1, 0.2]), CLASSES
    )
    assert (more.patients, more.set_aside, more.strata) == (3, 1, 1)


def test_the_same_seed_whatever_the_order_of_rows() -> None:
    rows = confounded(np.random.default_rng(5), lung=0.3)
    one = conditional_test(rows, CLASSES, seed=7, permutations=300)
    other = conditional_test(rows.reverse(), CLASSES, seed=7, permutations=300)
    assert one == other
    assert one != conditional_test(rows, CLASSES, seed=8, permutations=300)


def test_blocks_of_permutations_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = confounded(np.random.default_rng(6), lung=0.3)
    whole = conditional_test(rows, CLASSES, permutations=99)
    monkeypatch.setattr("hideseek.audit.conditional._BLOCK", 500)
    assert conditional_test(rows, CLASSES, permutations=99) == whole


def test_no_permutation_is_a_mistake() -> None:
    with pytest.raises(UserError, match="0 permutations"):
        conditional_test(confounded(np.random.default_rng(0), lung=0), CLASSES, permutations=0)
