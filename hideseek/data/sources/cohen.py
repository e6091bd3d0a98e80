"""Cohen et al., COVID-19 image data collection (ieee8023/covid-chestxray-dataset).

One of the readers between raw data and the manifest. `metadata.csv` has a row an image, CT slices
and lateral views among them; its columns and the form of its findings changed from version to
version. Ids of patients are the table's: patients entered twice are not merged here.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.folders import inside
from hideseek.data.sources.labels import paper_class
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

KEPT = ("age", "sex", "offset", "survival", "location", "date", "license", "doi", "url")
CT_VIEWS = ("ct", "axial", "coronal", "sagittal")
EXPECTED = "metadata.csv and images/"


def read(
    root: Path,
    folder: str = "covid-chestxray-dataset",
    metadata: str = "",
    masks: str = "annotations/lungVAE-masks",
) -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the repository, relative to the root; the root itself is tried as well.
        metadata: another version of the table, relative to the root; "" for the folder's own.
        masks: folder of lung masks, relative to the folder, or else to the root: `NAME_mask.png`
            (lungVAE, made by a model) or the image's own name (v7labs); "" for none.

    Returns:
        Every listed image that is on disk; `label` is empty for findings outside the paper's task.
        `modality` is the table's; in the versions without that column it is "CT" for the views of
        CT and else empty.

    Raises:
        UserError: no table, no column that it needs, no image, or a path that leaves the root.
    """
    metadata, masks = inside(metadata, "metadata"), inside(masks, "masks")
    place = source_folder(root, folder, "images" if metadata else "metadata.csv", EXPECTED)
    table = metadata or PurePosixPath(place, "metadata.csv").as_posix()
    rows = read_rows(root / table)
    name, finding, patient, view = (
        column(rows, (each,), root / table) for each in ("filename", "finding", "patientid", "view")
    )
    modality, kept = optional(rows, "modality"), spellings(rows, KEPT)
    index = FileIndex(root, PurePosixPath(place, "images").as_posix())
    matcher = Matcher(index, table)
    drawn = _masks(root, place, masks, matcher.problems) if masks else {}
    for row in rows:
        file = row[name]
        if ".nii" in file.lower():
            reason = f"a volume of '{row[finding]}'"
            matcher.problems.append(Problem(file, "volume", "info", reason, "left out"))
            continue
        by_view = "CT" if row[view].lower() in CT_VIEWS else ""
        matcher.add(
            file,
            {
                "label": paper_class(row[finding]),
                "source": "cohen",
                "patient_id": f"cohen_{row[patient]}",
                "view": row[view],
                "modality": row[modality] if modality else by_view,
                "mask": drawn.get(PurePosixPath(index.find(file) or "").stem.lower(), ""),
                "finding": row[finding],
                **{key: row[spelled] for key, spelled in kept.items()},
            },
        )
    return matcher.listing(f"{place or '.'}/images")


def _masks(root: Path, place: str, masks: str, problems: list[Problem]) -> dict[str, str]:
    """Find the masks by the stem of their image; two of lungVAE end in `_mask.png.png`."""
    below = PurePosixPath(place, masks).as_posix()
    folder = below if (root / below).is_dir() else masks
    if not (root / folder).is_dir():
        reason = f"neither {below} nor {masks} is a folder of the data root"
        problems.append(Problem(masks, "missing_folder", "warning", reason, "no masks"))
    files = FileIndex(root, folder).files
    return {re.sub(r"_mask(\.png)?$", "", PurePosixPath(file).stem.lower()): file for file in files}
