"""The test set, once, after training: predictions and the numbers computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.models.inputs import normalize
from hideseek.tasks.metrics import (
    classification_metrics,
    confusion_matrix,
    mask_counts,
    mean_over_images,
    segmentation_metrics,
)

IDENTITY = ("image_id", "patient_id", "source", "split", "label")
COUNTS = ("tn", "fp", "fn", "tp")
"""Pixels of an image: lung is positive."""


@torch.inference_mode()
def predict_classes(
    net: nn.Module,
    card: NetworkCard,
    batches: Iterable[dict[str, Tensor]],
    table: pl.DataFrame,
    device: str | torch.device = "cpu",
) -> pl.DataFrame:
    """Classify every image that the batches hold.

    Args:
        net: in evaluation mode.
        card: of the network.
        batches: as `CxrDataModule.test_dataloader` yields them.
        table: the cache's rows, which `index` of a batch counts.
        device: where the network runs.

    Returns:
        One row per image: `IDENTITY`, `prediction`, and `p_<class>` in float64 for each class.
    """
    net.to(device)
    indices, probabilities = [], []
    for batch in batches:
        logits = net(normalize(batch["image"].to(device), card.normalize, card.channels))
        probabilities.append(logits.cpu().double().softmax(dim=1).numpy())
        indices.append(batch["index"].numpy())
    scores = np.concatenate(probabilities)
    predictions = [card.classes[number] for number in scores.argmax(axis=1)]
    rows = table[np.concatenate(indices)].select(IDENTITY)
    columns = [pl.Series(f"p_{name}", scores[:, k]) for k, name in enumerate(card.classes)]
    return rows.with_columns(pl.Series("prediction", predictions), *columns)


def metrics_of_predictions(predictions: pl.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """Compute a cell's final numbers from its predictions, as read from `predictions.csv`.

    Args:
        predictions: columns `image_id`, `label`, `prediction` at least.
        classes: labels in the order of their numbers.

    Returns:
        As `classification_metrics`.

    Raises:
        UserError: an image stands there twice, or a label is unknown.
    """
    if predictions.get_column("image_id").is_duplicated().any():
        raise UserError("predictions.csv names an image twice; delete the cell and run it again")
    numbers = {name: number for number, name in enumerate(classes)}
    try:
        labels = np.array([numbers[name] for name in predictions.get_column("label")])
        guesses = np.array([numbers[name] for name in predictions.get_column("prediction")])
    except KeyError as error:
        raise UserError(f"predictions.csv has the class {error}, unknown to this cell") from None
    return classification_metrics(confusion_matrix(labels, guesses, len(classes)), classes)


@torch.inference_mode()
def measure_masks(
    net: nn.Module,
    card: NetworkCard,
    batches: Iterable[dict[str, Tensor]],
    table: pl.DataFrame,
    device: str | torch.device = "cpu",
) -> pl.DataFrame:
    """Segment every image that the batches hold and compare with its mask.

    Args:
        net: in evaluation mode.
        card: of the network.
        batches: with `mask`.
        table: the cache's rows.
        device: where the network runs.

    Returns:
        One row per image: `image_id`, `patient_id`, `source`, `split`, `COUNTS`, and the metrics of
        `segmentation_metrics` on that image, null where not defined.
    """
    net.to(device)
    rows = []
    for batch in batches:
        logits = net(normalize(batch["image"].to(device), card.normalize, card.channels))
        found = (logits.argmax(dim=1) == 1).cpu().numpy()
        for index, mask, truth in zip(
            batch["index"].tolist(), found, batch["mask"].numpy(), strict=True
        ):
            identity = {name: table.item(index, name) for name in IDENTITY[:-1]}
            counts = mask_counts(mask, truth)
            pixels = dict(zip(COUNTS, counts.ravel().tolist(), strict=True))
            rows.append({**identity, **pixels, **segmentation_metrics(counts)})
    return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))


def table_2(per_image: pl.DataFrame) -> pl.DataFrame:
    """Average segmentation metrics over images, for each source and for all (paper, Table 2).

    Args:
        per_image: as `measure_masks` returns it.

    Returns:
        One row per source and one for all together: `source`, `images`, then the metrics; NaN
        where no image defines one.
    """
    names = [column for column in per_image.columns if column not in (*IDENTITY, *COUNTS)]
    per_image = per_image.with_columns(pl.col(names).fill_null(float("nan")))
    groups = [
        *(
            (str(key[0]), part)
            for key, part in per_image.sort("source").group_by("source", maintain_order=True)
        ),
        ("all", per_image),
    ]
    rows = [
        {"source": source, "images": part.height, **mean_over_images(part.select(names).to_dicts())}
        for source, part in groups
    ]
    return pl.DataFrame(rows)
