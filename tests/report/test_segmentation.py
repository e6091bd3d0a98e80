from __future__ import annotations

import logging
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from hideseek.errors import UserError
from hideseek.report.segmentation import (
    COLUMNS,
    METRICS,
    PAPER,
    optimism,
    paper_table,
    write_segmentation,
    write_table_2,
)
from hideseek.tasks.evaluate import COUNTS
from hideseek.tasks.metrics import mask_counts, segmentation_metrics

SCORES = {
    "recall": reference.recall_score,
    "precision": reference.precision_score,
    "jaccard": reference.jaccard_score,
    "f1": reference.f1_score,
}


def measured(pairs, sources=None, patients=None) -> pl.DataFrame:
    """Make the rows of `measure_masks` from pairs of (found, true) masks."""
    rows = []
    for number, (found, true) in enumerate(pairs):
        counts = mask_counts(found, true)
        rows.append(
            {
                "image_id": f"i{number}",
                "patient_id": patients[number] if patients else f"p{number}",
                "source": sources[number] if sources else "nih",
                "split": "test",
                **dict(zip(COUNTS, counts.ravel().tolist(), strict=True)),
                **segmentation_metrics(counts),
            }
        )
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))


def strip(lung: str, found: str) -> tuple[np.ndarray, np.ndarray]:
    true, seen = (np.array([[sign == "#" for sign in text]]) for text in (lung, found))
    return seen, true


def cell(table: pl.DataFrame, test_set: str, kind: str, average: str) -> dict:
    return table.row(
        by_predicate=(pl.col("test_set") == test_set)
        & (pl.col("class") == kind)
        & (pl.col("average") == average),
        named=True,
    )


# Of four pixels: two lung, both found; two lung, one found and one too many; no lung, none found.
THREE = [strip("##..", "##.."), strip("##..", ".##."), strip("....", "....")]


def test_by_hand_per_image_and_pooled():
    table = paper_table(measured(THREE))
    assert table.columns == list(COLUMNS)
    lung = cell(table, "nih", "lung", "per image")
    # The third image defines none of them but accuracy.
    assert lung["recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert lung["precision"] == pytest.approx((1 + 1 / 2) / 2)
    assert lung["jaccard"] == pytest.approx((1 + 1 / 3) / 2)
    assert lung["f1"] == pytest.approx((1 + 1 / 2) / 2)
    assert lung["accuracy"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert lung["f1_p5"] == pytest.approx(0.5 + 0.05 * 0.5)
    assert lung["n"] == 3
    pooled = cell(table, "nih", "lung", "pooled")
    assert pooled["recall"] == pooled["precision"] == pooled["f1"] == pytest.approx(3 / 4)
    assert pooled["jaccard"] == pytest.approx(3 / 5)
    assert pooled["accuracy"] == pytest.approx(10 / 12)
    assert pooled["f1_p5"] is None
    background = cell(table, "nih", "background", "per image")
    assert background["jaccard"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert cell(table, "nih", "background", "pooled")["recall"] == pytest.approx(7 / 8)


DEGENERATE = st.sampled_from([np.zeros((3, 4), bool), np.ones((3, 4), bool)])
MASK = hnp.arrays(np.bool_, (3, 4)) | DEGENERATE
PAIRS = st.lists(st.tuples(MASK, MASK), min_size=1, max_size=5)


def by_scikit_learn(metric: str, found: np.ndarray, true: np.ndarray, positive: bool) -> float:
    y_found, y_true = found.ravel() == positive, true.ravel() == positive
    if metric == "accuracy":
        return float(reference.accuracy_score(y_true, y_found))
    needed = {"recall": y_true, "precision": y_found}.get(metric, y_true | y_found)
    # scikit-learn cannot say of every score that it is not defined.
    return float(SCORES[metric](y_true, y_found)) if needed.any() else np.nan


@given(PAIRS)
@settings(max_examples=40, deadline=None)
def test_table_2_as_scikit_learn(pairs):
    table = paper_table(measured(pairs))
    joined = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    for kind, positive in (("background", False), ("lung", True)):
        for metric in METRICS:
            each = np.array([by_scikit_learn(metric, *pair, positive) for pair in pairs])
            defined = each[~np.isnan(each)]
            mean = defined.mean() if defined.size else None
            assert cell(table, "nih", kind, "per image")[metric] == pytest.approx(mean)
            pooled = by_scikit_learn(metric, *joined, positive)
            expected = None if np.isnan(pooled) else pytest.approx(pooled)
            assert cell(table, "nih", kind, "pooled")[metric] == expected


def test_rows_are_the_test_sets_with_the_papers_beside_them():
    sources = ["cohen_v7labs", "NIH", "montgomery"]
    table = paper_table(measured(THREE, sources))
    assert table["test_set"].unique(maintain_order=True).to_list() == [*sorted(
        sources, key=str.encode), "all"]  # fmt: skip
    papers = table.filter(pl.col("average") == "paper")
    assert papers["test_set"].to_list() == ["NIH", "NIH", "cohen_v7labs", "cohen_v7labs"]
    row = cell(table, "cohen_v7labs", "lung", "paper")
    assert (row["n"], row["recall"], row["precision"]) == (206, 0.919, 0.923)
    assert (row["jaccard"], row["f1"], row["accuracy"]) == (0.854, 0.918, 0.958)
    assert cell(table, "NIH", "background", "paper")["jaccard"] == 0.973
    assert cell(table, "all", "lung", "per image")["n"] == 3
    # One source needs no row for all, and a part of a word is no name.
    assert set(paper_table(measured(THREE, ["snihx"] * 3))["test_set"]) == {"snihx"}
    assert "paper" not in set(paper_table(measured(THREE, ["snihx"] * 3))["average"])


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_numbers_fit_each_other(name):
    for values in PAPER[name][1].values():
        recall, precision, jaccard, f1, accuracy = values
        # Of one image F1 = 2J / (1 + J); means over images differ a little.
        assert f1 == pytest.approx(2 * jaccard / (1 + jaccard), abs=0.005)
        assert f1 == pytest.approx(2 * recall * precision / (recall + precision), abs=0.005)
        assert accuracy == PAPER[name][1]["lung"][-1]


@pytest.fixture
def written(tmp_path):
    odd = ["a|b_1%", "nih", None]
    metrics = write_segmentation(tmp_path, measured(THREE, odd, ["1", "x", '"']))
    return tmp_path, metrics


def test_nothing_on_disk_is_nan(written):
    folder, metrics = written
    names = ("predictions.csv", "table2.csv", "table2.md", "table2.tex")
    assert {path.name for path in folder.iterdir()} == set(names)
    for name in names:
        assert not re.search(r"\bnan\b|null|None", (folder / name).read_text(), re.IGNORECASE), name
    last = (folder / "predictions.csv").read_text().splitlines()[3].split(",")
    assert last[4:8] == ["4", "0", "0", "0"]
    assert last[-5:] == ["", "", "", "", "1.0"]
    assert metrics["images"] == 3
    assert metrics["f1_lung"] == pytest.approx(0.75)


def test_markdown_and_latex_hold_the_table(written):
    folder, _ = written
    table = pl.read_csv(folder / "table2.csv")
    text = (folder / "table2.md").read_text().split("\n\n")[0].splitlines()
    assert len(text) == table.height + 2
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text]
    assert {len(line) for line in cells} == {len(COLUMNS)}
    assert [value.strip() for value in cells[0]] == list(COLUMNS)
    for line, row in zip(cells[2:], table.iter_rows(named=True), strict=True):
        f1 = line[COLUMNS.index("f1")].strip()
        assert f1 == ("n/a" if row["f1"] is None else f"{row['f1']:.3f}")
    assert {line[0].strip() for line in cells[2:]} == {"a\\|b_1%", "nih", "unnamed", "all"}
    latex = (folder / "table2.tex").read_text().splitlines()
    rows = [line for line in latex if line.endswith(r" \\")]
    assert len(rows) == table.height + 1
    assert {line.count(" & ") for line in rows} == {len(COLUMNS) - 1}
    assert any(line.startswith(r"a|b\_1\% & lung") for line in rows)
    assert latex[1] == r"\begin{tabular}{lllrrrrrrr}"


def test_optimism_is_printed_and_stored(tmp_path, caplog):
    # At the paper's choice the second image is all right; at the other, half of it.
    best = measured([strip("##..", "##.."), strip("##..", "##..")], ["nih", "x"])
    other = measured([strip("##..", "##.."), strip("##..", ".##.")], ["nih", "x"])
    with caplog.at_level(logging.INFO):
        metrics = write_segmentation(tmp_path, best, other)
    assert metrics["optimism_f1_lung"] == pytest.approx(0.25)
    assert metrics["f1_lung"] == 1
    assert metrics["f1_lung_validation_choice"] == pytest.approx(0.75)
    assert metrics["optimism_f1_lung_pooled"] == pytest.approx(1 - 3 / 4)
    stored = pl.read_csv(tmp_path / "optimism.csv")
    assert stored["test_set"].to_list() == ["nih", "x", "all"]
    assert stored["optimism_f1_lung"].to_list() == pytest.approx([0, 0.5, 0.25])
    assert "optimism 0.250 per image, 0.250 pooled" in caplog.text
    again = pl.read_csv(tmp_path / "predictions_validation.csv")
    assert again["tp"].to_list() == [2, 1]
    # A run in the same folder that chooses on the validation set leaves nothing of it.
    assert "optimism_f1_lung" not in write_segmentation(tmp_path, best)
    assert not {"optimism.csv", "predictions_validation.csv"} & {p.name for p in tmp_path.iterdir()}


def test_optimism_is_not_defined_where_no_image_has_a_lung():
    empty = measured([strip("....", "....")])
    assert optimism(empty, empty).row(0)[2:] == (None,) * 6


@pytest.mark.parametrize(
    "content",
    [None, b"", b"image_id,source\n1,nih\n", b"source,tn,fp,fn,tp\nnih,1,2,3,x\n", b"\xff\xfe\x00"],
)
def test_damaged_predictions_are_one_line(content, tmp_path):
    if content is not None:
        (tmp_path / "predictions.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"predictions\.csv") as caught:
        write_table_2(tmp_path)
    assert "\n" not in str(caught.value)
