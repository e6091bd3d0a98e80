"""Labels that say nothing: exchanged between patients, for a network that can learn no disease.

What such a network looks at comes from the images and its architecture alone. Maps of a network
with the true labels have to differ from its maps (Adebayo et al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hideseek.seeds import stream

Integers = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]


def shuffled_labels(labels: Integers, patients: Texts, splits: Texts, seed: int) -> Integers:
    """Give every patient of training and validation the labels of another one of the same split.

    Patients are exchanged as a whole, so that all images of one still say the same where they did
    before. As many patients as before have each class; of images, about as many. By chance a
    patient may keep its class: that is part of a label that says nothing.

    Args:
        labels: class numbers [N], -1 where there is none.
        patients: of each image [N].
        splits: of each image [N]; all but "train" and "val" keep their labels.
        seed: of the cell.

    Returns:
        Class numbers [N].
    """
    changed = labels.copy()
    for number, split in enumerate(("train", "val")):
        rows = np.flatnonzero((splits == split) & (labels >= 0))
        _, patient, images = np.unique(
            patients[rows].astype(str), return_inverse=True, return_counts=True
        )
        ordered = rows[np.argsort(patient, kind="stable")]
        of_patients = np.split(ordered, np.cumsum(images)[:-1])
        order = np.random.default_rng(stream(seed, "shuffle labels", number))
        for mine, other in zip(of_patients, order.permutation(len(of_patients)), strict=True):
            # A patient with more images than the other one repeats its labels.
            changed[mine] = np.resize(labels[of_patients[other]], len(mine))
    return changed
