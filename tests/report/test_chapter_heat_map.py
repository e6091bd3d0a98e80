from __future__ import annotations

import polars as pl

from hideseek.report.chapters.heat_map import chapter
from tests.report.chapter_evidence import HOSTILE, evidence_of, metrics

ACCURACY = metrics({
    (HOSTILE, "original"): (0.93, 0.9, 0.96),
    (HOSTILE, "silhouette"): (0.4, 0.35, 0.45),
    (HOSTILE, "lungs_removed"): (0.92, 0.89, 0.95),
    (HOSTILE, "lungs_framed"): (0.9, 0.86, 0.94),
    ("other", "original"): (0.5, 0.4, 0.6),
})  # fmt: skip
COMPARED = pl.DataFrame([
    {"model": HOSTILE, "representation": name, "difference": difference, "low": difference - 0.01,
     "high": difference + 0.01, "p_holm": p, "decision": decision}
    for name, difference, p, decision in (
        ("lungs_removed", -0.01, 1.0, "equivalent"), ("silhouette", -0.53, 0.0018, "different"),
        ("lungs_framed", -0.03, 0.4, "inconclusive"),
    )
])  # fmt: skip


def test_numbers_and_decisions_reach_the_table():
    found = chapter(evidence_of({"metrics": ACCURACY, "comparisons": COMPARED}))
    table = found.tables[0].frame
    assert table.columns == ["model", "representation", "estimate", "low", "high", "difference",
                             "difference_low", "difference_high", "p_holm", "decision"]  # fmt: skip
    rows = {row[:2]: row[2:] for row in table.rows()}
    assert rows[HOSTILE, "silhouette"] == (
        0.4,
        0.35,
        0.45,
        -0.53,
        -0.54,
        -0.52,
        0.0018,
        "different",
    )
    assert rows[HOSTILE, "original"] == (0.93, 0.9, 0.96, None, None, None, None, "")
    assert "2 points" in found.sentences[0]


def test_marks_and_intervals_stand_in_the_cells():
    (picture,) = chapter(evidence_of({"metrics": ACCURACY, "comparisons": COMPARED})).pictures
    for text in (">0.920 =<", ">0.400 ≠<", ">0.900 ?<", ">0.930<", ">0.89-0.95<", ">not run<"):
        assert text in picture.svg
    assert "&lt;script&gt;" in picture.svg and "<script" not in picture.svg


def test_controls_stand_to_the_right_after_a_gap():
    (picture,) = chapter(evidence_of({"metrics": ACCURACY, "comparisons": COMPARED})).pictures
    places = [picture.svg.index(f">{text}<") for text in ("0.930", "0.920 =", "0.900 ?", "0.400 ≠")]
    assert places == sorted(places)


def test_auc_has_a_map_without_marks():
    auc = ACCURACY.with_columns(metric=pl.lit("macro_auc"))
    both = pl.concat([ACCURACY, auc])
    found = chapter(evidence_of({"metrics": both, "comparisons": COMPARED}))
    assert [each.name for each in found.pictures] == ["accuracy", "macro_auc"]
    assert ">0.920<" in found.pictures[1].svg and "≠" not in found.pictures[1].svg
    assert found.tables[1].frame.height == ACCURACY.height


def test_without_comparisons_there_are_no_marks():
    (picture,) = chapter(evidence_of({"metrics": ACCURACY})).pictures
    assert ">0.920<" in picture.svg


def test_numbers_that_are_none_are_said_to_be():
    odd = ACCURACY.with_columns(estimate=pl.lit("x"), low=pl.lit(None))
    (picture,) = chapter(evidence_of({"metrics": odd})).pictures
    assert ">n/a<" in picture.svg


def test_many_representations_become_rows():
    names = [f"lungs_removed margin {margin}" for margin in range(1, 20)]
    wide = metrics({("tiny", name): (0.9, 0.8, 0.95) for name in names})
    (picture,) = chapter(evidence_of({"metrics": wide})).pictures
    assert "lungs removed margin 19" in picture.svg
