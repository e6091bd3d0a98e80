from __future__ import annotations

import numpy as np
import pytest

from hideseek.audit.bootstrap import Draws
from hideseek.audit.judgement import judge
from hideseek.report.chapters.controls import LEAKS, QUIET, UNCLEAR, chapter, leak
from tests.report.chapter_evidence import HOSTILE, evidence_of, metrics

NEAR, ABOVE, BETWEEN = (0.5, 0.45, 0.55), (0.7, 0.6, 0.8), (0.6, 0.52, 0.68)
ORIGINAL = (0.75, 0.7, 0.8)


def shapes(first, second, **more):
    return {"original": ORIGINAL, "silhouette": first, "box_silhouette": second, **more}


@pytest.mark.parametrize(
    ("auc", "said"),
    [
        (shapes(NEAR, NEAR), "the masks are not seen to leak the class"),
        (shapes(NEAR, ABOVE), "fixed_box_out was not run"),
        (shapes(ABOVE, NEAR, fixed_box_out=NEAR), "decides (fixed_box_out 0.500 (0.45-0.55), near"),
        (shapes(NEAR, BETWEEN), "whether the masks leak the class is not clear"),
        ({"original": ORIGINAL, "silhouette": NEAR}, "box_silhouette was not run"),
        ({"original": ORIGINAL}, "neither silhouette was run"),
    ],
)
def test_what_the_rule_says_of_the_masks(auc, said):
    assert said in leak("tiny", auc, 0.05)


@pytest.mark.parametrize("whole", [0.6, 0.75, 0.95])
@pytest.mark.parametrize("centre", np.linspace(0.45, 0.75, 13))
def test_the_answers_are_those_of_the_verdict(whole, centre):
    """The verdict asks for silhouettes where hiding the lungs is not enough."""
    spread = np.linspace(-0.03, 0.03, 1001)
    centres = {"original": whole, "lungs_removed": whole, "lungs_isolated": whole,
               "silhouette": centre, "box_silhouette": 0.5}  # fmt: skip
    scores = {name: Draws(value, value + spread) for name, value in centres.items()}
    steps = {step.representation: step for step in judge("tiny", scores, 0.5).steps}
    if "silhouette" not in steps:
        pytest.skip("the original is not up")
    score = {name: draws.interval() for name, draws in scores.items()}
    auc = {name: (each.estimate, each.low, each.high) for name, each in score.items()}
    words = {"up": LEAKS, "down": QUIET, "unclear": UNCLEAR}[steps["silhouette"].answer]
    assert f"{auc['silhouette'][2]:.2f}), {words}" in leak("tiny", auc, 0.05)


def test_controls_have_a_table_and_a_picture():
    auc = metrics({(HOSTILE, name): score for name, score in shapes(NEAR, ABOVE).items()},
                  "macro_auc")  # fmt: skip
    found = chapter(evidence_of({"metrics": auc}))
    assert found.tables[0].frame.rows() == [
        (HOSTILE, "silhouette", *NEAR), (HOSTILE, "box_silhouette", *ABOVE),
    ]  # fmt: skip
    (picture,) = found.pictures
    assert "&lt;script&gt;" in picture.svg and ">chance<" in picture.svg
    assert any(each.startswith(f"{HOSTILE}: the masks leak the class") for each in found.sentences)
    assert found.absent == ""


def test_the_lines_follow_the_audits_own_setting():
    auc = metrics({("tiny", name): score for name, score in shapes(NEAR, ABOVE).items()},
                  "macro_auc")  # fmt: skip
    found = chapter(evidence_of({"metrics": auc}, settings={"least": 0.2}))
    assert ">counts above 0.7<" in found.pictures[0].svg
    assert not any("masks leak the class (" in each for each in found.sentences)


def test_without_controls_the_chapter_says_how_to_get_them():
    auc = metrics({("tiny", "original"): (0.9, 0.85, 0.95)}, "macro_auc")
    found = chapter(evidence_of({"metrics": auc}))
    assert "experiment=controls" in found.absent and found.pictures == ()


def test_margins_and_fills_are_curves():
    names = ["lungs_removed", "lungs_removed margin 10", "lungs_removed mean margin -5",
             "lungs_removed mean", "original"]  # fmt: skip
    accuracy = metrics({("tiny", name): (0.9 - n / 10, 0.5, 1.0) for n, name in enumerate(names)})
    half = f"margins: {HOSTILE}: half of its signal is gone at 12 % (9 to > 30)"
    found = chapter(evidence_of({"metrics": accuracy}, sections={"margins": {"lines": [half]}}))
    assert half in found.sentences
    (table,) = found.tables
    assert [row[1:5] for row in table.frame.rows()] == [
        ("lungs_removed", "black", 0.0, 0.9), ("lungs_removed", "black", 10.0, 0.8),
        ("lungs_removed", "mean", -5.0, pytest.approx(0.7)),
        ("lungs_removed", "mean", 0.0, pytest.approx(0.6)),
    ]  # fmt: skip
    (picture,) = found.pictures
    assert picture.representation == "lungs_removed"
    for text in (">black<", ">mean<", ">margin, % of the lung width<"):
        assert text in picture.svg


def test_a_rectangle_that_hides_nearly_all_does_not_decide():
    auc = {"silhouette": (0.8, 0.75, 0.85), "fixed_box_out": (0.5, 0.45, 0.55)}
    assert "hides 99% of the image, so a fall to chance says nothing" in leak("t", auc, 0.05, 0.99)
    for hidden in (0.5, None):
        assert leak("t", auc, 0.05, hidden).endswith("near chance).")
