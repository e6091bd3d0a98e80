"""Cohen et al., COVID-19 image data collection (ieee8023/covid-chestxray-dataset).

`metadata.csv` has a row an image, CT slices and lateral views among them; its columns and the form
of its findings changed from version to version.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import paper_class
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    Matcher,
    column,
    optional,
    read_rows,
    source_folder,
)

KEPT = ("age", "sex", "offset", "survival", "location", "date", "license", "doi", "url")


def read(
    root: Path,
    folder: str = "covid-chestxray-dataset",
    metadata: str = "metadata.csv",
    masks: str = "annotations/lungVAE-masks",
) -> Listing:
    """List the collection.

    Args:
        root: the data root.
        folder: of the repository, relative to the root; the root itself is tried as well.
        metadata: the table, relative to the folder, or else to the root.
        masks: folder of lung masks, relative to the folder, or else to the root: `NAME_mask.png`
            (lungVAE) or the image's own name (v7labs); "" for none.

    Returns:
        Every listed image that is on disk; `label` is empty for findings outside the paper's task.

    Raises:
        UserError: no table, no column that it needs, or no image.
    """
    place = source_folder(root, folder, "images", "metadata.csv and images/")
    table = _inside(root, place, metadata)
    rows = read_rows(root / table)
    name, finding, patient, view = (
        column(rows, names, root / table)
        for names in (("filename",), ("finding",), ("patientid",), ("view",))
    )
    modality = optional(rows, "modality")
    kept = {key: spelled for key in KEPT if (spelled := optional(rows, key))}
    drawn = _masks(root, _inside(root, place, masks)) if masks else {}
    index = FileIndex(root, PurePosixPath(place, "images").as_posix())
    matcher = Matcher(index, table)
    for row in rows:
        file = row[name]
        if ".nii" in file.lower():
            reason = f"a volume of '{row[finding]}'"
            matcher.problems.append(Problem(file, "volume", "info", reason, "left out"))
            continue
        matcher.add(
            file,
            {
                "label": paper_class(row[finding]),
                "source": "cohen",
                "patient_id": f"cohen_{row[patient]}",
                "view": row[view],
                "modality": row[modality] if modality else "",
                "mask": drawn.get(PurePosixPath(index.find(file) or "").stem.lower(), ""),
                "finding": row[finding],
                **{key: row[spelled] for key, spelled in kept.items()},
            },
        )
    return matcher.listing(f"{place or '.'}/images")


def _inside(root: Path, place: str, name: str) -> str:
    below = PurePosixPath(place, name).as_posix()
    return name if not (root / below).exists() and (root / name).exists() else below


def _masks(root: Path, folder: str) -> dict[str, str]:
    files = FileIndex(root, folder).files
    return {PurePosixPath(file).stem.lower().split("_mask")[0]: file for file in files}
