"""COVID-19 image repository of Hannover Medical School (ml-workgroup/covid-19-image-repository).

One of the readers between raw data and the manifest. Cohen holds 82 images of it and calls five
"No Finding"; here they are covid19 like all, as the patient had it.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.sources.labels import COVID19
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    Matcher,
    column,
    optional,
    read_rows,
    source_folder,
    spellings,
)


def read(root: Path, folder: str = "covid-19-image-repository") -> Listing:
    """List the collection: `data.csv` and `png/`. It has no labels: every patient has COVID-19.

    Args:
        root: the data root.
        folder: of the repository, relative to the root; the root itself is tried as well.

    Returns:
        Every listed image that is on disk. `offset` counts days from admission; in Cohen, from
        symptoms or admission.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    place = source_folder(root, folder, "data.csv", "data.csv and png/")
    table = PurePosixPath(place, "data.csv").as_posix()
    rows = read_rows(root / table)
    image, patient, view, modality = (
        column(rows, (name,), root / table)
        for name in ("image_id", "patient_id", "projection", "modality")
    )
    kept = spellings(rows, ("age", "sex"))
    offset = optional(rows, "admission_offset")
    matcher = Matcher(FileIndex(root, PurePosixPath(place, "png").as_posix()), table)
    for row in rows:
        matcher.add(
            row[image],
            {
                "label": COVID19,
                "source": "hannover",
                "patient_id": f"hannover_{row[patient]}",
                "view": row[view].upper(),
                "modality": row[modality],
                "finding": "COVID-19",
                **{key: row[spelled] for key, spelled in kept.items()},
                "offset": row[offset] if offset else "",
            },
        )
    return matcher.listing(f"{place or '.'}/png")
