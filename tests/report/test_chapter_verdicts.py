from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hideseek.report.chapters import controls, heat_map, matrix, paper_tables, sources, verdicts
from tests.report.chapter_evidence import HOSTILE, evidence_of

VERDICT = {
    "model": HOSTILE, "name": "lungs", "sentence": f"{HOSTILE} reads the lungs.", "failing": "",
    "share": None, "status": 0,
    "steps": [
        {"representation": "original", "answer": "up",
         "score": {"estimate": 0.9123, "low": 0.88, "high": 0.94}},
        {"representation": "lungs_removed", "answer": "down",
         "score": {"estimate": 0.51, "low": 0.45, "high": 0.57}},
        {"representation": "silhouette", "answer": "missing", "score": None},
    ],
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*VERDICT, "score", "low", "left_out", "by"]), inner)
    ),
    max_leaves=12,
)
KEYS = ("verdicts", "classes", "images", "patients", "settings", "status", "sections")
ALL = (verdicts, heat_map, paper_tables, controls, sources, matrix)


def test_a_card_has_the_sentence_and_the_numbers_behind_it():
    found = verdicts.chapter(evidence_of(verdicts=[VERDICT], status=0))
    (card,) = found.cards
    assert (card.model, card.verdict, card.status) == (HOSTILE, "lungs", 0)
    assert card.sentence == f"{HOSTILE} reads the lungs."
    assert card.numbers == (
        "AUC original 0.912 (0.88-0.94): clearly above chance",
        "AUC lungs_removed 0.510 (0.45-0.57): near chance",
        "silhouette: not run",
    )
    assert found.absent == ""


def test_the_status_is_told_with_its_meaning_and_what_a_verdict_cannot_say():
    for status, meaning in ((0, "every network reads the lungs"), (3, "reads a shortcut"),
                            (4, "nothing can be said"), (9, "not known")):  # fmt: skip
        said = verdicts.chapter(evidence_of(verdicts=[VERDICT], status=status)).sentences
        assert any(f"audit: {status}" in each and meaning in each for each in said)
        assert "need not read the disease" in said[-1]
    assert said[0].startswith(
        "300 test images of 200 patients; classes: normal, pneumonia, covid19"
    )


def test_no_verdicts_no_crash():
    found = verdicts.chapter(evidence_of())
    assert found.cards == () and "hideseek audit 'multirun/my grid'" in found.absent


def test_an_empty_audit_leaves_every_chapter_standing():
    for module in ALL:
        found = module.chapter(evidence_of())
        assert found.pictures == () and found.tables == ()
        assert found.absent or module is paper_tables


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_audit_json_breaks_a_chapter(content):
    for module in ALL:
        module.chapter(evidence_of(**content))
