"""What a finished segmentation cell says: the paper's Table 2 of its test sets, beside the paper's.

Everything is counted from the pixels in `predictions.csv`, per image (the paper's way) and pooled.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from hideseek.errors import UserError
from hideseek.tasks.evaluate import COUNTS, table_2
from hideseek.tasks.metrics import mean_over_images, segmentation_metrics

log = logging.getLogger(__name__)

METRICS = ("recall", "precision", "jaccard", "f1", "accuracy")
CLASSES = ("background", "lung")
COLUMNS = ("test_set", "class", "average", "n", *METRICS[:4], "f1_p5", "accuracy")
PAPER = {
    "nih": (100, {"background": (0.981, 0.991, 0.973, 0.986, 0.979),
                  "lung": (0.968, 0.934, 0.906, 0.95, 0.979)}),
    "cohen": (206, {"background": (0.971, 0.971, 0.945, 0.971, 0.958),
                    "lung": (0.919, 0.923, 0.854, 0.918, 0.958)}),
}  # fmt: skip
"""Images and `METRICS` of the paper's Table 2; its Cohen masks are lungVAE's."""

OTHER = "_validation_choice"

NOTE = (
    "per image: mean over the images that define a value; pooled: over all pixels; f1_p5: 5th "
    "percentile of F1 over images; paper: Sadre et al. 2021, Table 2, per image, on its own images"
)


def write_segmentation(
    folder: Path, chosen: pl.DataFrame, other: pl.DataFrame | None = None
) -> dict[str, float]:
    """Write a cell's predictions and tables, and log what they say in a line each.

    Args:
        folder: of the cell; gets predictions.csv and table2.csv, .md and .tex, and with `other`
            predictions_validation.csv and optimism.csv.
        chosen: as `measure_masks` returns it, of the epoch that the cell chose.
        other: where the test set chose the epoch: of the one that the validation set chooses.

    Returns:
        The means over all test images, and with `other` the optimism of lung F1.
    """
    chosen.write_csv(folder / "predictions.csv")
    table = write_table_2(folder)
    for row in table.filter(pl.col("class") == "lung", pl.col("average") == "per image").to_dicts():
        log.info("test set %s (%d images): lung F1 %s per image, 5th percentile %s",
                 row["test_set"], row["n"], _text(row["f1"]), _text(row["f1_p5"]))  # fmt: skip
    metrics: dict[str, float] = table_2(chosen).drop("source").row(-1, named=True)
    files = folder / "predictions_validation.csv", folder / "optimism.csv"
    if other is None:
        for file in files:  # of an earlier run in the same folder
            file.unlink(missing_ok=True)
        return metrics
    other.write_csv(files[0])
    compared = optimism(chosen, other)
    compared.write_csv(files[1])
    row = compared.drop("test_set", "n").row(-1, named=True)
    log.info(
        "lung F1 on the test set: %s in the epoch that is best there, %s in the one that the "
        "validation set chooses; optimism %s per image, %s pooled over pixels",
        *(_text(row[name]) for name in ("f1_lung", f"f1_lung{OTHER}", "optimism_f1_lung",
                                        "optimism_f1_lung_pooled")),
    )  # fmt: skip
    return {**metrics, **{name: math.nan if x is None else x for name, x in row.items()}}


def write_table_2(folder: Path) -> pl.DataFrame:
    """Write a finished cell's table2.csv, table2.md and table2.tex from its predictions.csv.

    Args:
        folder: of the cell.

    Returns:
        As `paper_table`.

    Raises:
        UserError: predictions.csv is absent, damaged or without pixel counts.
    """
    path = folder / "predictions.csv"
    try:
        written = pl.read_csv(path, infer_schema=False, glob=False)
        table = paper_table(written.select("source", pl.col(COUNTS).cast(pl.Int64)))
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: no segmenter's predictions ({reason}); run it again") from None
    table.write_csv(folder / "table2.csv")
    (folder / "table2.md").write_text(_markdown(table))
    (folder / "table2.tex").write_text(_latex(table))
    return table


def paper_table(per_image: pl.DataFrame) -> pl.DataFrame:
    """Compute Table 2 from pixel counts.

    Args:
        per_image: a row an image: `source`, `COUNTS`.

    Returns:
        `COLUMNS`. For each source, and for "all" where there are several, each class per image and
        pooled, and as the paper has it where the source's name has "nih" or "cohen" as a word.
        Fractions in 0..1, null where not defined.
    """
    rows = []
    for name, counts in _test_sets(per_image):
        each = [segmentation_metrics(image) for image in counts]
        means, pooled = mean_over_images(each), segmentation_metrics(counts.sum(axis=0))
        words = re.split(r"[^a-z0-9]+", name.lower())
        for kind in CLASSES:
            scores = np.array([metrics[f"f1_{kind}"] for metrics in each])
            defined = scores[~np.isnan(scores)]
            low = float(np.percentile(defined, 5)) if defined.size else math.nan
            rows.append((name, kind, "per image", len(each), *_of(means, kind), low))
            rows.append((name, kind, "pooled", len(each), *_of(pooled, kind), None))
            for images, values in (PAPER[word] for word in PAPER if word in words):
                rows.append((name, kind, "paper", images, *values[kind], None))
    names = ("test_set", "class", "average", "n", *METRICS, "f1_p5")
    types = {**dict.fromkeys(names, pl.Float64), **dict.fromkeys(names[:3], pl.String)}
    table = pl.DataFrame(rows, schema={**types, "n": pl.Int64}, orient="row")
    return table.select(COLUMNS).with_columns(pl.col(pl.Float64).fill_nan(None))


def optimism(paper: pl.DataFrame, validation: pl.DataFrame) -> pl.DataFrame:
    """Compare the lung F1 of two epochs on the same test images.

    Args:
        paper: as `measure_masks` returns it, of the epoch that the test set chose.
        validation: of the epoch that the validation set chose.

    Returns:
        A row a test set, all together last: `test_set`, `n`, `f1_lung` (per image) and
        `f1_lung_pooled` of the first epoch, the same of the second with `OTHER` after the name, and
        `optimism_f1_lung`, `optimism_f1_lung_pooled`, their differences; null where not defined.
    """
    ours, theirs = _lung_f1(paper), _lung_f1(validation).drop("test_set", "n")
    joined = pl.concat([ours, theirs.rename(lambda name: f"{name}{OTHER}")], how="horizontal")
    return joined.with_columns(
        (pl.col(name) - pl.col(f"{name}{OTHER}")).alias(f"optimism_{name}")
        for name in theirs.columns
    )


def _lung_f1(measured: pl.DataFrame) -> pl.DataFrame:
    lung = paper_table(measured).filter(pl.col("class") == "lung")
    each, pooled = (lung.filter(pl.col("average") == name) for name in ("per image", "pooled"))
    f1 = {"f1_lung": each["f1"], "f1_lung_pooled": pooled["f1"]}
    return each.select("test_set", "n").with_columns(**f1)


def _test_sets(per_image: pl.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    named = per_image.with_columns(pl.col("source").fill_null(""))
    groups = named.sort("source", maintain_order=True).group_by("source", maintain_order=True)
    parts = [(str(key[0]) or "unnamed", part) for key, part in groups]
    for name, part in [*parts, ("all", named)] if len(parts) > 1 else parts:
        yield name, part.select(COUNTS).to_numpy().reshape(-1, 2, 2)


def _of(metrics: Mapping[str, float], kind: str) -> list[float]:
    return [*(metrics[f"{name}_{kind}"] for name in METRICS[:4]), metrics["accuracy"]]


def _text(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if isinstance(value, float) else " ".join(str(value).split())


def _markdown(table: pl.DataFrame) -> str:
    lines = [COLUMNS, ["---"] * 3 + ["---:"] * (len(COLUMNS) - 3)]
    lines += [[_text(value).replace("|", "\\|") for value in row] for row in table.rows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{NOTE}\n"


def _latex(table: pl.DataFrame) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"}

    def line(cells: tuple[object, ...]) -> str:
        escaped = ("".join(special.get(sign, sign) for sign in _text(cell)) for cell in cells)
        return " & ".join(escaped) + r" \\"

    body = [line(row) for row in table.rows()]
    return "\n".join([
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{lll{'r' * (len(COLUMNS) - 3)}}}",
        r"\toprule", line(COLUMNS), r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}",
        f"% {NOTE}",
    ]) + "\n"  # fmt: skip
