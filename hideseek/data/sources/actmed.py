"""Actualmed COVID-19 chest X-ray initiative (agchung/Actualmed-COVID-chestxray-dataset).

One of the readers between raw data and the manifest. `metadata.csv` has a row an image.
"""

from __future__ import annotations

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


def read(root: Path, folder: str = "Actualmed-COVID-chestxray-dataset") -> Listing:
    """List the collection: `metadata.csv` and `images/`.

    Args:
        root: the data root.
        folder: of the repository, relative to the root; the root itself is tried as well.

    Returns:
        Every listed image that is on disk; inconclusive ones have no finding and no label.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    place = source_folder(root, folder, "metadata.csv", "metadata.csv and images/")
    table = PurePosixPath(place, "metadata.csv").as_posix()
    rows = read_rows(root / table)
    name, patient, finding, view, modality = (
        column(rows, (name,), root / table)
        for name in ("imagename", "patientid", "finding", "view", "modality")
    )
    kept = spellings(rows, KEPT)
    matcher = Matcher(FileIndex(root, PurePosixPath(place, "images").as_posix()), table)
    for row in rows:
        matcher.add(
            row[name],
            {
                "label": paper_class(row[finding]),
                "source": "actmed",
                "patient_id": f"actmed_{row[patient]}",
                "view": row[view],
                "modality": row[modality],
                "finding": row[finding],
                **{key: row[spelled] for key, spelled in kept.items()},
            },
        )
    return matcher.listing(f"{place or '.'}/images")
