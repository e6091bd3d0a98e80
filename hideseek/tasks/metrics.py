"""From counts to the numbers that the paper's tables hold.

Pure functions on confusion matrices and masks. Every number of a report comes from here and from
`predictions.csv`, never from values that were logged while training. What is not defined (the
sensitivity of an absent class) is NaN, and an empty field on disk, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def confusion_matrix(labels: Counts, predictions: Counts, classes: int) -> Counts:
    """Count pairs of true and predicted class.

    Args:
        labels: true class numbers [N].
        predictions: predicted class numbers [N].
        classes: how many classes there are.

    Returns:
        int64 [classes, classes]; rows are true, columns predicted.
    """
    pairs = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predictions, dtype=np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def classification_metrics(confusion: Counts, classes: Sequence[str]) -> dict[str, float]:
    """Compute the columns of the paper's Tables 3 to 7.

    Args:
        confusion: int64 [K, K]; rows are true, columns predicted.
        classes: names of the K classes.

    Returns:
        `accuracy`, `sens_<class>` (recall), `ppv_<class>` (precision), then `balanced_accuracy`
        (mean sensitivity over the classes present) and `n`. Fractions in 0..1, NaN where the
        denominator is 0.
    """
    correct = np.diag(confusion)
    total = int(confusion.sum())
    sensitivity = _divide(correct, confusion.sum(axis=1))
    ppv = _divide(correct, confusion.sum(axis=0))
    present = sensitivity[~np.isnan(sensitivity)]
    return {
        "accuracy": float(_divide(correct.sum(), np.array(total))),
        **{f"sens_{name}": float(value) for name, value in zip(classes, sensitivity, strict=True)},
        **{f"ppv_{name}": float(value) for name, value in zip(classes, ppv, strict=True)},
        "balanced_accuracy": float(present.mean()) if present.size else float("nan"),
        "n": total,
    }


def mask_counts(
    predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Count the pixels of one image by true and predicted class.

    Args:
        predicted: bool [H, W], True where lung.
        true: bool [H, W].

    Returns:
        int64 [2, 2]; rows are true, columns predicted; background first.
    """
    return confusion_matrix(
        true.ravel().astype(np.int64), predicted.ravel().astype(np.int64), classes=2
    )


def segmentation_metrics(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    """Compute the cells of the paper's Table 2 from pixel counts.

    Args:
        counts: int64 [2, 2] as `mask_counts` returns it, of one image (the paper's way, to be
            averaged over images) or summed over images (pooled).

    Returns:
        `<metric>_background` and `<metric>_lung` for recall, precision, jaccard and f1 (the Dice
        coefficient), and `accuracy`. NaN where a denominator is 0.
    """
    metrics: dict[str, float] = {}
    for index, name in enumerate(("background", "lung")):
        hit = counts[index, index]
        true, predicted = counts[index].sum(), counts[:, index].sum()
        metrics[f"recall_{name}"] = float(_divide(hit, true))
        metrics[f"precision_{name}"] = float(_divide(hit, predicted))
        metrics[f"jaccard_{name}"] = float(_divide(hit, true + predicted - hit))
        metrics[f"f1_{name}"] = float(_divide(2 * hit, true + predicted))
    metrics["accuracy"] = float(_divide(np.trace(counts), counts.sum()))
    return metrics


def mean_over_images(per_image: Sequence[dict[str, float]]) -> dict[str, float]:
    """Average each metric over the images where it is defined (the paper's Table 2).

    Args:
        per_image: one dictionary per image, equal keys.

    Returns:
        The means; NaN for a metric that no image defines.
    """
    means: dict[str, float] = {}
    for name in per_image[0] if per_image else ():
        values = np.array([metrics[name] for metrics in per_image])
        defined = values[~np.isnan(values)]
        means[name] = float(defined.mean()) if defined.size else float("nan")
    return means


def _divide(part: npt.ArrayLike, whole: npt.ArrayLike) -> npt.NDArray[np.float64]:
    whole = np.asarray(whole, dtype=np.float64)
    fraction: npt.NDArray[np.float64] = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=fraction, where=whole > 0)
    return fraction
