"""Whether the lung masks under a sweep can be trusted: by class and by source, with the alarms.

the caches of the cells -> cache-*.masks.csv -> trust gate -> tables, a picture, the worst masks
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hideseek.audit.cached import cache_of
from hideseek.data.manifest import read_text_columns
from hideseek.data.trust import Gate, gate
from hideseek.errors import UserError
from hideseek.report.cell_files import file_name, shown
from hideseek.report.chapter import Chapter, Picture, Table
from hideseek.report.drawing import picture
from hideseek.report.evidence import Evidence
from hideseek.report.mask_panels import mask_panels
from hideseek.report.masks import gate_table
from hideseek.report.photograph import photograph
from hideseek.sweep.runs import read_done

TITLE = "Lung masks"
SHEET_BYTES = 700_000
COUNTS = ("n", "patients", "empty", "flagged")
SUMMARY = (*COUNTS, "flagged_share", "area_mean", "area_p5", "quality_mean", "quality_p5")
PREPARE = (
    "The masks of this sweep's images cannot be judged here ({}). They are where the data were "
    "prepared: run hideseek prepare with the sweep's data group on this machine."
)


@dataclass(frozen=True)
class Judged:
    """The masks of one cache: a row each, the gate's report, and where the sheet would be."""

    cache: str
    masks: pl.DataFrame
    gate: Gate
    sheet: Path


def chapter(evidence: Evidence) -> Chapter:
    """Judge the masks of every cache that cells of the sweep read.

    Args:
        evidence: of the sweep.

    Returns:
        Tables by class and source, the gate's tests, and the distributions.
    """
    judged, missing = [], []
    for found in _judged(evidence):
        if isinstance(found, Judged):
            judged.append(found)
        else:
            missing.append(found)
    if not judged:
        why = missing[0] if missing else "no cell is finished"
        return Chapter("masks", TITLE, absent=PREPARE.format(why))
    sentences = [_introduction(judged)]
    for each in judged:
        where = f"Cache {each.cache}: " if len(judged) > 1 else ""
        sentences += [f"{where}ALARM: {shown(text)}." for text in each.gate.sentences]
        if not each.gate.alarm:
            sentences.append(f"{where}No alarm: neither masks nor their errors tell the class.")
    sentences += [f"Not judged: {why}." for why in missing]
    pictures = [made for number, each in enumerate(judged, start=1)
                for made in _pictures(number, each, len(judged) > 1)]  # fmt: skip
    tables = (_summary(judged), _tests(judged))
    return Chapter("masks", TITLE, tuple(sentences), tables, tuple(pictures))


def _judged(evidence: Evidence) -> Iterator[Judged | str]:
    """Judge each cache once; where that cannot be, say why."""
    seen = set()
    for folder in evidence.cells:
        recipe = str(read_done(folder).get("recipe_hash", ""))
        if recipe in seen:
            continue
        seen.add(recipe)
        try:
            cache = cache_of(evidence.sweep, folder.name)
            path = cache.path.with_suffix(".masks.csv")
            if not path.is_file():
                raise UserError(f"{path.name} is not beside the cache")
            masks = gate_table(read_text_columns(path))
            report = gate(masks, cache.recipe.classes)
        except (UserError, OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
            yield shown(str(error).partition("\n")[0] or type(error).__name__)
            continue
        known = pl.col("label").is_in(list(cache.recipe.classes))
        name = f"{cache.recipe.size} px {recipe[:8]}"
        yield Judged(name, masks.filter(known), report, cache.path.with_suffix(".masks.png"))


def _introduction(judged: Sequence[Judged]) -> str:
    rows = judged[0].masks
    made = (rows.get_column("mask_from") == "segmenter").sum() if "mask_from" in rows else 0
    how = f"{made} of {rows.height} masks were made by the segmenter" if made \
        else f"All {rows.height} masks came with the data"  # fmt: skip
    return (
        f"{how} (all splits). Every representation is cut along these masks: where they fail "
        "more in one class, or their area tells the class, they carry the class into all "
        "representations. Quality is estimated from the mask's shape, and from a second look at "
        "the mirrored image where there was one; it is no comparison with a truth."
    )


def _summary(judged: Sequence[Judged]) -> Table:
    parts = [
        each.gate.summary.with_columns(
            pl.lit(each.cache).alias("cache"),
            pl.col("label").fill_null("all"),
            pl.col("source").fill_null("all"),
            (pl.col("flagged") / pl.col("n")).alias("flagged_share"),
        )
        for each in judged
    ]
    columns = ([] if len(judged) == 1 else ["cache"]) + ["label", "source", *SUMMARY]
    headings = {"label": "class", "n": "images", "flagged": "failed", "flagged_share": "share",
                "area_mean": "area, mean", "area_p5": "area, 5th pct.",
                "quality_mean": "quality, mean", "quality_p5": "quality, 5th pct."}  # fmt: skip
    caption = (
        "A row is a class, a source, or both: images, and masks that are empty or that no pair of "
        "lungs looks like (failed); area is a share of the image, quality an estimated Dice."
    )
    return Table("masks", caption, pl.concat(parts).select(columns), headings)


def _tests(judged: Sequence[Judged]) -> Table:
    rows = [
        {
            "cache": each.cache,
            "measure": "failed" if test.measure == "flagged" else test.measure,
            "scope": test.scope.replace("_", " "),
            "patients": test.patients,
            "explained": test.epsilon_squared,
            "greater": test.pair[0],
            "smaller": test.pair[1],
            "auc": test.auc,
            "p": test.p,
            "p_holm": test.p_holm,
            "alarm": test.alarm,
        }
        for each in judged
        for test in each.gate.tests
    ]
    texts = ("cache", "measure", "scope", "greater", "smaller")
    numbers = ("explained", "auc", "p", "p_holm")
    schema = {
        name: pl.String if name in texts else pl.Float64 if name in numbers else pl.Int64
        for name in (rows[0] if rows else texts)
    } | ({"alarm": pl.Boolean} if rows else {})
    frame = pl.DataFrame(rows, schema, orient="row")
    return Table(
        "mask_tests",
        "A row is a test whether a measure depends on the class: the share of its variance (of "
        "ranks) that the class explains, the two classes that differ most, the probability that "
        "the first is greater, and p values from permuting patients.",
        frame if len(judged) > 1 else frame.drop("cache"),
        {"explained": "explained share", "auc": "probability", "p_holm": "p (Holm)"},
        {"p": 4, "p_holm": 4},
    )


def _pictures(number: int, judged: Judged, several: bool) -> Iterator[Picture]:
    of = f" (cache {judged.cache})" if several else ""
    classes = judged.gate.summary.filter(pl.col("source").is_null(), pl.col("label").is_not_null())
    means = "; ".join(
        f"{shown(row['label'])} {row['area_mean']:.2f}" for row in classes.iter_rows(named=True)
        if row["area_mean"] is not None
    )  # fmt: skip
    yield picture(
        mask_panels(judged.masks),
        file_name("masks", number, judged.cache),
        f"Area and estimated quality of the masks by class and source{of}.",
        f"Distributions of mask area and estimated mask quality for each class and source{of}. "
        f"Mean area by class: {means}. The table of masks has the numbers.",
    )
    if judged.sheet.is_file():
        try:
            yield photograph(
                judged.sheet,
                SHEET_BYTES,
                file_name("worst_masks", number, judged.cache),
                f"The masks to look at, worst first{of}, with estimated quality and what is odd.",
                "Radiographs with the outlines of their lung masks, the least plausible first.",
            )
        except UserError:
            return
