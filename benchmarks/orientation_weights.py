"""Fit the weights that tell an inverted or upside-down radiograph, and measure them by source.

    python benchmarks/orientation_weights.py ../shared/data/manifest.csv

Ridge regressions on standardised 32x32 thumbnails, without intercept: upright images have the
target 1, and so their negatives (or mirror images, top to bottom) have -1. Sources count alike.
Writes hideseek/data/orientation.npy; prints false alarms and detections on each source when its
images are left out of the fit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.linear_model import Ridge

from hideseek.data.duplicates import SIDE, thumbnail
from hideseek.data.images import read_radiograph
from hideseek.data.orientation import WEIGHTS, judge, standardized

RIDGE = 1.0


def fit(features: npt.NDArray[np.float64], source: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
    """Fit one direction, [F]."""
    names, counts = np.unique(source, return_counts=True)
    weight = 1 / counts[np.searchsorted(names, source)]
    model = Ridge(RIDGE, fit_intercept=False)
    model.fit(features, np.ones(len(features)), sample_weight=weight / weight.mean())
    return np.asarray(model.coef_)


def weights(
    plain: npt.NDArray[np.float64],
    mirrored: npt.NDArray[np.float64],
    source: npt.NDArray[np.str_],
) -> npt.NDArray[np.float32]:
    """Fit both directions, float32 [2, 32, 32]."""
    both = np.stack([fit(plain, source), fit(plain - mirrored, source)])
    return both.reshape(2, SIDE, SIDE).astype(np.float32)


def main() -> None:
    """Measure with each source left out, then fit on all."""
    manifest = Path(sys.argv[1])
    table = pl.read_csv(manifest, infer_schema=False)
    files = (manifest.parent / name for name in table.get_column("image"))
    thumbnails = np.stack([thumbnail(read_radiograph(file).pixels) for file in files])
    source = table.get_column("source").to_numpy().astype(str)
    plain = standardized(thumbnails)
    upside_down = thumbnails[:, ::-1]
    plain, mirrored = standardized(thumbnails), standardized(upside_down)
    found = {"as it is": thumbnails, "negative": 255 - thumbnails, "mirrored": upside_down}
    counts = {kind: np.zeros(2) for kind in found}
    for name in np.unique(source):
        out = source == name
        directions = weights(plain[~out], mirrored[~out], source[~out])
        for kind, pictures in found.items():
            judged = judge(pictures[out], directions).select("inverted", "upside_down").sum().row(0)
            counts[kind] += judged
            print(f"{name:11} {kind:9} {judged[0] / out.sum():.4f} inverted, "
                  f"{judged[1] / out.sum():.4f} upside down")  # fmt: skip
    for kind, judged in counts.items():
        share = judged / len(thumbnails)
        print(f"all         {kind:9} {share[0]:.4f} inverted, {share[1]:.4f} upside down")
    np.save(WEIGHTS, weights(plain, mirrored, source), allow_pickle=False)


if __name__ == "__main__":
    main()
