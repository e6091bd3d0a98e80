"""`hideseek audit model=...`: somebody's finished network on test images, without any training.

network, cache -> scores on the images and under every hide -> sections -> audit/NAME/
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from torch import nn

from hideseek import __version__
from hideseek.audit.bootstrap import (
    Draws,
    Floats,
    Integers,
    intervals,
    metric_draws,
    resample_counts,
)
from hideseek.audit.frozen_maps import maps_section
from hideseek.audit.hiding import (
    LIMITS,
    HidingSettings,
    Outcome,
    hidden_pictures,
    outcomes,
    plan,
    reading,
)
from hideseek.audit.network import check_outputs, network_of
from hideseek.audit.section import Section
from hideseek.audit.strata import separate_within, strata_table
from hideseek.audit.tester import pictures, predict
from hideseek.checkpoint import NetworkCard, weights_hash
from hideseek.data.cache import Cache
from hideseek.data.datamodule import RepresentationDataset
from hideseek.data.source import Source
from hideseek.errors import UserError
from hideseek.fill import Image, Mask
from hideseek.progress import progress
from hideseek.record import write_json
from hideseek.report.tables import WIDTH
from hideseek.roi import original
from hideseek.seeds import stream

STATUS = {"lungs": 0, "outside": 3, "both": 3, "neither": 4, "cannot tell": 4}
READ = "macro_auc"


def frozen(config: DictConfig) -> int:
    """Audit the network that a configuration names, and write what was found.

    Args:
        config: composed from `conf/audit.yaml`.

    Returns:
        Exit status, as of a sweep's audit: 0 the lungs, 3 the outside too or alone, 4 neither, or
        nothing can be told.

    Raises:
        UserError: the network, its weights, the data or the settings cannot work.
    """
    settings = HidingSettings(
        fills=tuple(config.hiding.fills),
        margins=tuple(float(margin) for margin in config.hiding.margins),
        draws=config.hiding.draws,
        tolerance=config.hiding.tolerance,
        seed=config.seed,
    )
    net, card, name, weights = network_of(config)
    source: Source = instantiate(config.data, _convert_="all")
    cache = Cache(source.ready(card.image_size))
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    given = (settings, tuple(config.splits), config.resamples, device)
    sections = audit_frozen(net, card, cache, *given)
    about = {
        "mode": "frozen",
        "version": __version__,
        "network": card.plain(),
        "weights_hash": None if weights is None else weights_hash(weights),
        "data": cache.recipe.digest(),
        "splits": list(config.splits),
        "resamples": config.resamples,
        "settings": asdict(settings),
    }
    folder = Path("audit") / name
    _write(folder, about, sections)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for section in sections:
        for line in section.lines:
            console.print(line)
    console.print(f"audit: {folder / 'audit.json'}", soft_wrap=True)
    words = {section.name: section.content for section in sections}
    return STATUS[words["hiding"]["reading"]]


def audit_frozen(
    net: nn.Module,
    card: NetworkCard,
    cache: Cache,
    settings: HidingSettings | None = None,
    splits: Sequence[str] = ("test",),
    resamples: int = 10_000,
    device: str | torch.device = "cpu",
) -> tuple[Section, ...]:
    """Hide regions of test images from a network, and compare with random hides.

    Args:
        net: in evaluation mode.
        card: of the network.
        cache: of images and masks.
        settings: how to hide.
        splits: whose images.
        resamples: of patients, for the intervals.
        device: where the network runs.

    Returns:
        The sections `original` (all metrics on the images as they are, and predictions), `hiding`,
        `within_sources` where there are two sources or more, and `attribution`.

    Raises:
        UserError: network and images do not fit each other.
    """
    settings = settings or HidingSettings()
    rows, labels = _images(cache, card, splits)
    check_outputs(net, card, device)
    hides = plan(settings)

    def make(image: Image, mask: Mask, key: int) -> list[Image]:
        seed = stream(settings.seed, "hide", key)
        return [image, *hidden_pictures(image, mask, hides, seed)]

    images = RepresentationDataset(cache, original, card.image_size, with_mask=True)
    bar, advance = progress(f"{len(rows)} images, {len(hides) + 1} pictures each", len(rows))
    with bar:
        shown = partial(pictures, images, make=make)
        scores = predict(net, card, rows, shown, cache.table, device, advance)
    if not np.isfinite(scores).all():
        raise UserError("audit: the network's outputs are not finite; check weights and normalize")
    table = cache.table[rows]
    patients = table.get_column("patient_id").to_numpy()
    counts = resample_counts(labels, patients, resamples, settings.seed)
    predictions = _predictions(table, card.classes, scores[0])
    drawn = [
        metric_draws(labels, each.argmax(axis=1), each, counts, card.classes) for each in scores
    ]
    found = {
        name: outcomes(
            name, hides, [each[name] for each in drawn], chance, settings.tolerance,
            len(set(patients)),
        )
        for name, chance in ((READ, 0.5), ("balanced_accuracy", 1 / len(np.unique(labels))))
    }  # fmt: skip
    word, sentence = reading(found[READ], drawn[0][READ].interval(), 0.5)
    everything = [outcome for each in found.values() for outcome in each]
    content = {
        "reading": word,
        "measure": READ,
        "outcomes": [asdict(outcome) for outcome in everything],
        "limits": LIMITS,
    }
    sections = [
        _original(predictions, drawn[0], card),
        Section("hiding", content, {"hiding": _table(everything)}, lines=(sentence, LIMITS)),
    ]
    if table.get_column("source").n_unique() > 1:
        sections.append(_within_sources(predictions, counts, card.classes))
    sections.append(maps_section(net, card, images, predictions, labels, rows, counts, device))
    return tuple(sections)


def _images(cache: Cache, card: NetworkCard, splits: Sequence[str]) -> tuple[list[int], Integers]:
    """Find the images to show, and their classes as the network counts them."""
    if cache.recipe.size < card.image_size:
        raise UserError(
            f"{cache.path}: holds {cache.recipe.size} px, and the network reads {card.image_size}; "
            f"prepare again with data.size={card.image_size}"
        )
    rows = cache.rows(splits)
    names = cache.table.get_column("label").gather(rows).to_list()
    unknown = sorted(set(names) - set(card.classes))
    if unknown or len(set(names)) < 2:
        raise UserError(
            f"{cache.path}: its images are of the classes {', '.join(sorted(set(names)))}, the "
            f"network's are {', '.join(card.classes)}; two or more have to be the same"
        )
    return rows.tolist(), np.array([card.classes.index(name) for name in names])


def _predictions(table: pl.DataFrame, classes: Sequence[str], scores: Floats) -> pl.DataFrame:
    identity = table.select("image_id", "patient_id", "source", "split", "label")
    called = [classes[number] for number in scores.argmax(axis=1)]
    columns = [pl.Series(f"p_{name}", scores[:, k]) for k, name in enumerate(classes)]
    return identity.with_columns(pl.Series("prediction", called), *columns)


def _original(predictions: pl.DataFrame, drawn: Mapping[str, Draws], card: NetworkCard) -> Section:
    metrics = intervals(drawn)
    rows = [(name, each.estimate, each.low, each.high) for name, each in metrics.items()]
    table = pl.DataFrame(rows, schema=["metric", "estimate", "low", "high"], orient="row")
    table = table.fill_nan(None)
    patients = predictions.get_column("patient_id").n_unique()
    score, balanced = metrics[READ], metrics["balanced_accuracy"]
    lines = [
        f"On {predictions.height} images of {patients} patients the macro AUC is "
        f"{score.estimate:.3f} ({score.low:.3f} to {score.high:.3f}), the balanced accuracy "
        f"{balanced.estimate:.3f} ({balanced.low:.3f} to {balanced.high:.3f}). Whether the network "
        "was trained on some of them is not known here."
    ]
    if card.roi != "original":
        lines.append(f"The network was trained on {card.roi}, and is shown whole images here.")
    content = {"images": predictions.height, "patients": patients, "metrics": table.to_dicts()}
    tables = {"metrics": table, "predictions": predictions}
    return Section("original", content, tables, lines=tuple(lines))


def _table(found: Sequence[Outcome]) -> pl.DataFrame:
    rows = []
    for each in found:
        row = {
            "measure": each.measure,
            "region": each.region,
            "margin": each.margin,
            "fill": each.fill,
        }
        for name in ("hidden", "random", "drop", "beyond"):
            interval = getattr(each, name)
            row |= {name: interval.estimate, f"{name}_low": interval.low}
            row[f"{name}_high"] = interval.high
        rows.append({**row, "state": each.state})
    return pl.DataFrame(rows)


def _within_sources(predictions: pl.DataFrame, counts: Integers, classes: Sequence[str]) -> Section:
    pairs = separate_within(predictions, classes, ("source",), counts)
    lines = []
    for pair in pairs:
        one, other = pair.classes
        text = "no source holds both, so nothing tells the disease from the source"
        if pair.within is not None:
            overall, within = pair.overall.auc, pair.within.auc
            text = f"AUC {overall.value:.3f} over all images, {within.value:.3f} within sources"
            if within.low is not None and within.high is not None:
                text += f" ({within.low:.3f} to {within.high:.3f})"
        lines.append(f"{one} and {other}: {text}.")
    content = {"pairs": [asdict(pair) for pair in pairs]}
    return Section("within_sources", content, {"strata": strata_table(pairs)}, lines=tuple(lines))


def _write(folder: Path, about: dict[str, object], sections: Sequence[Section]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for name, table in section.tables.items():
            table.write_csv(folder / f"{name}.csv")
    found = {section.name: dict(section.content) for section in sections}
    lines = [line for section in sections for line in section.lines]
    write_json(folder / "audit.json", {**about, "sections": found, "lines": lines})
