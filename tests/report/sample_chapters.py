"""Chapters with everything that a page has to cope with, made up."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from hideseek.report.chapter import Card, Chapter, Picture, Table

ATTACK = "<script>alert(1)</script>"
ATTRIBUTE_ATTACK = '"><img src=x onerror=alert(1)>'
MODELS = ("alexnet", "covidnet_small", "resnet50", "vgg11", ATTACK)
REPRESENTATIONS = (
    "original", "lungs_isolated", "lungs_removed", "lungs_framed", "lungs_boxed_out", "silhouette",
    "fixed_box_out",
)  # fmt: skip
VERDICTS = (
    ("lungs", 0, "reads the lungs: hidden, they take its accuracy with them; alone, they carry it"),
    ("outside_marker", 3, "reads something outside the lungs, such as a letter or the border"),
    ("inconclusive", 4, "cannot be told from these images: lungs_isolated is not clear"),
)


def drawing(title: str, width: float, height: float = 3.0) -> tuple[bytes, str]:
    """Draw a curve as PNG and as SVG."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.linspace(0, 1, 50), np.linspace(0, 1, 50) ** 0.5)
    axes.set_title(title)
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=130)
    figure.savefig(svg, format="svg")
    return png.getvalue(), svg.getvalue()


@cache
def sample_chapters() -> list[Chapter]:
    """Make cards, tables narrow, wide and long, drawings, photographs, and an absent chapter."""
    return [_verdicts(), _scores(), _wide(), _pictures(), _absent()]


def _verdicts() -> Chapter:
    cards = []
    for number, model in enumerate(MODELS):
        name, status, sentence = VERDICTS[number % len(VERDICTS)]
        numbers = ("AUC original 0.912 (0.880-0.944)", "AUC lungs removed 0.871 (0.830-0.912)")
        cards.append(Card(model, name, f"{model} {sentence}.", status, numbers))
    sentence = "A verdict holds for the images of this test set, and for networks trained as here."
    return Chapter("verdicts", "Verdicts", (sentence,), cards=tuple(cards))


def _scores() -> Chapter:
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": model,
            "representation": representation,
            "seeds": 9 if model == "vgg11" else 10,
            "accuracy": None if representation == "silhouette" else float(rng.uniform(0.4, 1)),
            "difference": float(rng.normal(scale=0.1)),
            "p_holm": float(rng.uniform() ** 9),
            "decision": "different",
        }
        for model in MODELS
        for representation in REPRESENTATIONS
    ]
    frame = pl.DataFrame(rows)
    small = pl.DataFrame({"source": [ATTACK, "img10", "img9"], "value": [2.0, 10.0, float("nan")]})
    caption = "A row is a network on a representation; intervals are over patients."
    headings = {"p_holm": "p (Holm)"}
    return Chapter(
        "scores",
        "Networks and representations",
        ("Numbers are from the predictions alone.", f"A source is called {ATTRIBUTE_ATTACK}."),
        (
            Table("scores", caption, frame, headings, {"accuracy": 2, "p_holm": 4}),
            Table("sources", "Sources, and what a <b>name</b> can hold.", small),
        ),
    )


def _wide() -> Chapter:
    columns = {f"sens_of_class_number_{number}": [0.25, 0.5, 1.0] * 20 for number in range(14)}
    frame = pl.DataFrame({"image": [f"img{number}" * 4 for number in range(60)], **columns})
    return Chapter("wide", "A wide and long table", tables=(Table("wide", "Images.", frame),))


def _pictures() -> Chapter:
    pictures = []
    for model in MODELS[:2]:
        for representation in REPRESENTATIONS[:2]:
            png, svg = drawing(f"{model}, {representation}", 4.0)
            name, caption = f"curve-{model}-{representation}", f"{model} on {representation}."
            about = "A curve that rises from 0 to 1, steeply at first."
            pictures.append(Picture(name, caption, about, png, svg, model, representation))
    tall, _ = drawing("tall", 6.0, 12.0)
    pictures.append(Picture("tall", "A tall picture.", "As before, but tall.", tall))
    png, _ = drawing("no vector", 9.0)
    pictures.append(Picture("../../photo", f"A photograph {ATTACK}.", ATTRIBUTE_ATTACK, png))
    return Chapter("pictures", "Pictures", ("Where it looked.",), pictures=tuple(pictures))


def _absent() -> Chapter:
    how = "There is no checkpoint. To make them: hideseek audit multirun/mine parts=matrix"
    return Chapter("matrix", "Matrix", absent=how)
