import numpy as np
import polars as pl
import pytest
from rich.console import Console
from statsmodels.stats.proportion import proportion_confint

from hideseek.audit.paper import paper_table, paper_text, published_tables

CLASSES = ("normal", "pneumonia", "covid")


def test_every_row_comes_from_whole_images_of_100_a_class():
    published = published_tables()
    assert published.group_by("table", "model").len().get_column("len").to_list() == [5] * 5
    for row in published.iter_rows(named=True):
        hits = [round(100 * row[f"sens_{name}"]) for name in CLASSES]
        predicted = [row[f"pred_{name}"] for name in CLASSES]
        assert row["accuracy"] == round(sum(hits) / 300, 3)
        assert sum(predicted) == 300
        for name, hit, number in zip(CLASSES, hits, predicted, strict=True):
            assert row[f"ppv_{name}"] == round(hit / number, 3), (row["model"], name)


def test_intervals_equal_statsmodels():
    rows = paper_table()
    low, high = proportion_confint(rows["correct"].to_numpy(), 300, method="wilson")
    np.testing.assert_allclose(rows["low"], low)
    np.testing.assert_allclose(rows["high"], high)
    best = rows.row(
        by_predicate=(pl.col("model") == "ResNet-50") & (pl.col("dataset") == "data"), named=True
    )
    assert (best["correct"], round(best["low"], 3), round(best["high"], 3)) == (280, 0.899, 0.956)
    assert best["lost"] is None


def test_two_images_are_no_difference():
    row = paper_table().filter(model="ResNet-50", dataset="data_lungs_removed").row(0, named=True)
    assert row["lost"] == 2
    assert row["p_best"] == pytest.approx(2 / 2**2)
    assert row["holm_best"] == 1


def test_at_most_six_of_twenty_differences_survive_and_one_if_errors_overlap_by_half():
    rows = paper_table().drop_nulls()
    assert rows.height == 20
    assert rows.filter(pl.col("holm_best") <= 0.05).height == 6
    survivors = rows.filter(pl.col("holm_overlap") <= 0.05).select("model", "dataset").rows()
    assert survivors == [("AlexNet", "data_lungs_boxed_out")]
    assert (rows["p_best"] <= rows["p_overlap"]).all()
    # 25 and 55 errors, 12 of them shared: 43 images lost, 13 won.
    row = rows.filter(model="AlexNet", dataset="data_lungs_boxed_out").row(0, named=True)
    assert row["p_overlap"] == pytest.approx(7.333e-5, rel=1e-3)
    assert row["holm_overlap"] == pytest.approx(20 * row["p_overlap"])


def test_the_text_says_so():
    console = Console(width=130)
    with console.capture() as shown:
        console.print(paper_text())
    text = " ".join(shown.get().split())
    assert "at most 6 can survive Holm" in text
    assert "1 survives: AlexNet data_lungs_boxed_out" in text
    assert "17%" in text and "+-4.8 points" in text
    assert "ResNet-50 data_lungs_removed 0.927 0.891-0.951 +2 0.5000 1.0000" in text
