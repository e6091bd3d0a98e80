"""Figure 1 COVID-19 chest X-ray initiative (agchung/Figure1-COVID-chestxray-dataset).

One of the readers between raw data and the manifest. `metadata.csv` is not UTF-8 and names no
files: an image is called like its patient, with a letter where there are several.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.sources.labels import paper_class
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    Matcher,
    column,
    read_rows,
    source_folder,
    spellings,
)

KEPT = ("age", "sex", "offset", "survival")
LETTER = re.compile(r"(?<=\d)[a-z]$")
"""Tells the images of one patient apart."""


def read(root: Path, folder: str = "Figure1-COVID-chestxray-dataset") -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the repository, relative to the root; the root itself is tried as well.

    Returns:
        Every listed image that is on disk; rows without a finding have no label.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    place = source_folder(root, folder, "metadata.csv", "metadata.csv and images/")
    table = PurePosixPath(place, "metadata.csv").as_posix()
    rows = read_rows(root / table)
    patient, finding, view, modality = (
        column(rows, (name,), root / table) for name in ("patientid", "finding", "view", "modality")
    )
    kept = spellings(rows, KEPT)
    matcher = Matcher(FileIndex(root, PurePosixPath(place, "images").as_posix()), table)
    for row in rows:
        matcher.add(
            row[patient],
            {
                "label": paper_class(row[finding]),
                "source": "fig1",
                "patient_id": f"fig1_{LETTER.sub('', row[patient])}",
                "view": row[view],
                "modality": row[modality],
                "finding": row[finding],
                **{key: row[spelled] for key, spelled in kept.items()},
            },
        )
    return matcher.listing(f"{place or '.'}/images")
