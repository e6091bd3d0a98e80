from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.audit.bootstrap import Draws
from hideseek.audit.judgement import judge
from hideseek.audit.verdict import AROUND, MEANING, UNION, Rule

HIDDEN = 0.5
"""Share of the image that the fixed rectangle covers."""

REPRESENTATIONS = (
    "original", "lungs_isolated", "lungs_removed", "silhouette", "box_silhouette", "fixed_box_out",
)  # fmt: skip
# AUC of each representation, in the order above; from planted signals (audit-spec 0.3).
PLANTED = {
    "no_signal": (0.52, 0.5, 0.5, 0.5, 0.5, 0.5),
    "lungs": (0.95, 0.97, 0.51, 0.5, 0.5, 0.5),
    "outside_marker": (0.99, 0.5, 0.99, 0.5, 0.52, 0.99),
    "adjacent_anatomy": (0.98, 0.52, 0.97, 0.5, 0.5, 0.53),
    "global_acquisition": (0.99, 0.95, 0.98, 0.5, 0.5, 0.98),
    "mask_confounded": (0.9, 0.9, 0.88, 0.88, 0.86, 0.5),
    "mixed": (0.95, 0.75, 0.75, 0.5, 0.5, 0.75),
}


def draws(auc: float, half: float = 0.03) -> Draws:
    """Draws whose 95 % interval is about auc +- half."""
    return Draws(auc, np.linspace(auc - half / 0.95, auc + half / 0.95, 1001))


def scores(aucs, half: float = 0.03) -> dict[str, Draws]:
    return {name: draws(a, half) for name, a in zip(REPRESENTATIONS, aucs, strict=True)}


@pytest.mark.parametrize("expected", PLANTED)
def test_planted_signals_get_their_verdict(expected):
    verdict = judge("tiny", scores(PLANTED[expected]), HIDDEN)
    assert verdict.name == expected
    assert verdict.sentence.startswith(f"tiny {MEANING[expected]}")
    assert verdict.steps[0].representation == "original"
    assert verdict.status == {"lungs": 0, "no_signal": 4}.get(expected, 3)


@pytest.mark.parametrize("expected", sorted(set(PLANTED) - {"no_signal"}))
def test_wide_intervals_end_in_cannot_tell(expected):
    verdict = judge("tiny", scores(PLANTED[expected], half=0.48), HIDDEN)
    assert (verdict.name, verdict.status) == ("inconclusive", 4)
    assert verdict.failing


def test_what_is_missing_is_named():
    for name in ("original", "lungs_isolated", "lungs_removed"):
        given = scores(PLANTED["outside_marker"])
        del given[name]
        verdict = judge("tiny", given, HIDDEN)
        assert verdict.name == "inconclusive"
        assert f"there is no cell of {name}" in verdict.sentence
        assert "missing" in {step.answer for step in verdict.steps}
    for name in ("silhouette", "box_silhouette", "fixed_box_out"):
        for kind in ("outside_marker", "mask_confounded"):
            given = scores(PLANTED[kind])
            del given[name]
            verdict = judge("tiny", given, HIDDEN)
            if kind == "outside_marker" or name == "fixed_box_out":
                assert verdict.failing.startswith(f"there is no cell of {name}")


def test_without_controls_lungs_can_be_said_and_no_shortcut():
    bare = {name: draws(auc) for name, auc in zip(REPRESENTATIONS[:3], (0.95, 0.96, 0.5),
                                                  strict=True)}  # fmt: skip
    assert judge("tiny", bare, HIDDEN).name == "lungs"
    bare["lungs_removed"] = draws(0.95)
    assert judge("tiny", bare, HIDDEN).name == "inconclusive"


def test_a_leak_of_the_mask_voids_and_the_fixed_rectangle_decides():
    given = scores(PLANTED["mask_confounded"])
    assert judge("tiny", given, HIDDEN).steps[-1].representation == "fixed_box_out"
    given["fixed_box_out"] = draws(0.9)
    assert judge("tiny", given, HIDDEN).name == "mixed"
    given["fixed_box_out"] = draws(0.63, half=0.1)
    assert judge("tiny", given, HIDDEN).name == "inconclusive"


@pytest.mark.parametrize(("hidden", "says"), [(0.99, "hides 99% of the image"), (None, "record")])
def test_a_rectangle_that_hides_all_proves_nothing(hidden, says):
    verdict = judge("tiny", scores(PLANTED["mask_confounded"]), hidden)
    assert verdict.name == "inconclusive" and says in verdict.failing
    given = scores(PLANTED["adjacent_anatomy"])
    verdict = judge("tiny", given, hidden)
    assert verdict.name == "inconclusive" and says in verdict.failing
    # The masks leak nothing, so the rectangle round each image's own lungs may decide.
    for own, name in (
        (draws(0.98), "outside_marker"),
        (draws(0.52), "adjacent_anatomy"),
        (draws(0.61, half=0.1), "inconclusive"),
    ):
        assert judge("tiny", {**given, "union_box_out": own}, hidden).name == name
    # What is still read beside a rectangle that hides nearly all is outside it.
    marker = judge("tiny", scores(PLANTED["outside_marker"]), hidden)
    assert marker.name == "outside_marker"


@pytest.mark.parametrize("other", ["lungs_removed", "lungs_isolated", "box_silhouette"])
def test_an_original_that_was_not_learned_is_not_called_quiet(other):
    given = scores(PLANTED["no_signal"])
    given[other] = draws(0.8)
    verdict = judge("tiny", given, HIDDEN)
    assert verdict.name == "inconclusive"
    assert verdict.failing == f"{other} is learned and the original is not"


def test_a_test_set_of_one_class_is_named():
    nothing = Draws(float("nan"), np.full(100, np.nan))
    verdict = judge("tiny", dict.fromkeys(REPRESENTATIONS, nothing), HIDDEN)
    assert verdict.name == "inconclusive"
    assert "of one class, so there is no AUC" in verdict.failing


@pytest.mark.parametrize(("isolated", "expected"), [(0.665, "inconclusive"), (0.80, "lungs")])
def test_lungs_that_carry_only_a_part_are_not_called_lungs(isolated, expected):
    # Two thirds of the excess, .259, are above the upper limit of the first, .215, only.
    aucs = (0.888, isolated, 0.545, 0.5, 0.5, 0.5)
    verdict = judge("tiny", scores(aucs, half=0.05), HIDDEN)
    assert verdict.name == expected
    assert ("alone carry clearly less" in verdict.failing) == (expected == "inconclusive")


def test_shares_of_a_mixture():
    verdict = judge("tiny", scores(PLANTED["mixed"]), HIDDEN)
    # Excess over chance: original .45, lungs alone .25, the rest alone .25.
    assert verdict.share == pytest.approx((1 - 0.25 / 0.45, 0.25 / 0.45))
    assert "44% to 56%" in verdict.sentence


@pytest.mark.parametrize(
    ("around", "fixed", "union", "hidden", "expected"),
    [
        (0.97, 0.98, None, HIDDEN, "global_acquisition"),  # gain
        (0.52, 0.98, None, HIDDEN, "mixed"),  # opacity and marker
        (0.97, 0.52, None, HIDDEN, "mixed"),  # opacity and heart
        (0.97, 0.98, None, 0.99, "global_acquisition"),
        # A rectangle that hides nearly all says nothing by silence; each image's own may.
        (0.97, 0.5, 0.98, 0.99, "global_acquisition"),
        (0.97, 0.5, 0.52, 0.99, "mixed"),
        (0.97, 0.5, 0.52, None, "mixed"),
        (0.97, 0.5, None, 0.99, "inconclusive"),
        (0.97, 0.5, None, None, "inconclusive"),
        (0.97, None, None, None, "inconclusive"),
        (0.52, 0.5, None, 0.99, "mixed"),
        # Sweeps that were made before there was around_lungs.
        (None, 0.98, None, HIDDEN, "global_acquisition"),
        (None, 0.52, None, HIDDEN, "mixed"),
        (None, 0.52, None, 0.99, "global_acquisition"),
        (None, None, None, None, "global_acquisition"),
    ],
)
def test_one_signal_everywhere_is_told_from_several(around, fixed, union, hidden, expected):
    given = scores(PLANTED["global_acquisition"])
    asked = {AROUND: around, "fixed_box_out": fixed, UNION: union}
    given = {name: each for name, each in given.items() if name not in asked}
    given |= {name: draws(auc) for name, auc in asked.items() if auc is not None}
    verdict = judge("tiny", given, hidden)
    assert verdict.name == expected
    assert verdict.share == pytest.approx((1 - 0.48 / 0.49, 0.45 / 0.49))
    missing = around is None and expected == "global_acquisition"
    assert missing == (f"{AROUND}, which could tell" in verdict.sentence)


@pytest.mark.parametrize(
    ("given", "hidden", "missing"),
    [({}, None, "fixed_box_out"), ({"fixed_box_out": draws(0.5)}, 0.99, UNION)],
)
def test_the_rectangle_that_is_missing_is_named(given, hidden, missing):
    bare = scores(PLANTED["global_acquisition"])
    del bare["fixed_box_out"]
    verdict = judge("tiny", {**bare, AROUND: draws(0.97), **given}, hidden)
    assert verdict.failing.startswith(f"there is no cell of {missing};")


@pytest.mark.parametrize("name", [AROUND, "fixed_box_out"])
def test_an_unclear_surrounding_ends_in_cannot_tell(name):
    given = {**scores(PLANTED["global_acquisition"]), AROUND: draws(0.97)}
    given[name] = draws(0.62, half=0.1)
    verdict = judge("tiny", given, HIDDEN)
    assert verdict.name == "inconclusive"
    assert "each suffice" in verdict.failing


def test_the_line_is_a_setting():
    given = scores((0.60, 0.60, 0.5, 0.5, 0.5, 0.5), half=0.02)
    assert judge("tiny", given, HIDDEN).name == "lungs"
    assert judge("tiny", given, HIDDEN, Rule(least=0.09)).name != "lungs"


ASKED = (*REPRESENTATIONS, AROUND, UNION)


@given(
    st.lists(st.floats(0.3, 1), min_size=len(ASKED), max_size=len(ASKED)),
    st.floats(0.001, 0.3),
    st.sets(st.sampled_from(ASKED)),
    st.sampled_from([None, 0.5, 0.99]),
)
def test_every_pattern_has_one_verdict_and_a_shortcut_needs_controls(aucs, half, missing, hidden):
    named = zip(ASKED, aucs, strict=True)
    given = {name: draws(auc, half) for name, auc in named if name not in missing}
    verdict = judge("tiny", given, hidden)
    assert verdict.name in MEANING
    assert "\n" not in verdict.sentence
    assert verdict.failing or verdict.name not in ("mixed", "inconclusive")
    assert not verdict.failing or verdict.name in ("mixed", "inconclusive", "global_acquisition")
    if verdict.status == 3:
        asked = {step.representation: step.answer for step in verdict.steps}
        assert asked["original"] == "up"
        leaks = [asked["silhouette"], asked["box_silhouette"]]
        assert "up" in leaks or leaks == ["down", "down"]
