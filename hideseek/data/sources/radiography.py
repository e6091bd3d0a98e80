"""COVID-19 Radiography Database (Kaggle): a folder per class, and `CLASS.metadata.xlsx` beside it.

The layout changed from version to version: images lie in the class folder or in `images/` below it,
`masks/` came later, and names hold blanks ("COVID-19 (12).png").
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import openpyxl

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import COVID19, NORMAL, PNEUMONIA
from hideseek.data.sources.listing import IMAGE_SUFFIXES, FileIndex, Listing, listing
from hideseek.errors import UserError

LABELS = {
    "covid-19": COVID19,
    "covid": COVID19,
    "normal": NORMAL,
    "viral pneumonia": PNEUMONIA,
    "lung_opacity": "",
}
EXPECTED = "folders COVID-19 (or COVID), NORMAL and Viral Pneumonia"
LARGEST_TABLE = 20_000_000
"""Bytes; a workbook that unpacks to more is refused."""


def read(root: Path, folder: str = "COVID-19-Radiography-Database") -> Listing:
    """List the images of the class folders.

    Args:
        root: the data root.
        folder: of the archive, relative to the root; the root itself is tried as well.

    Returns:
        Every image in a class folder, its own patient (the source names none); `url` from the
        workbook where it has the name. "Lung_Opacity" has no label.

    Raises:
        UserError: no image in a class folder.
    """
    place = folder if (root / folder).is_dir() else ""
    problems: list[Problem] = []
    urls = {}
    for path in sorted((root / place).glob("*.metadata.xlsx")):
        try:
            urls.update(_urls(path))
        except UserError as error:
            relative = PurePosixPath(place, path.name).as_posix()
            problems.append(Problem(relative, "table", "warning", str(error), "left out"))
    index = FileIndex(root, place)
    files = [PurePosixPath(file) for file in index.files]
    masks = {_key(file): file.as_posix() for file in files if file.parent.name == "masks"}
    rows = []
    for file in files:
        below = file.parent.parent if file.parent.name == "images" else file.parent
        name = below.name.lower()
        if name not in LABELS:
            continue
        rows.append(
            {
                "path": file.as_posix(),
                "label": LABELS[name],
                "source": "radiography",
                "patient_id": f"radiography_{file.stem}",
                "mask": masks.get(f"{below.name}/{file.stem}", ""),
                "finding": below.name,
                "url": urls.get(_bare(file.stem), ""),
            }
        )
    if not rows:
        seen = sorted(entry.name for entry in (root / place).glob("*"))[:8] if root.is_dir() else []
        raise UserError(
            f"{root / place}: expected {EXPECTED} with images; saw {', '.join(seen) or 'nothing'}"
        )
    return listing(rows, problems)


def _key(mask: PurePosixPath) -> str:
    return f"{mask.parent.parent.name}/{mask.stem}"


def _bare(name: str) -> str:
    """Forget blanks: "COVID-19 (12)" and "COVID-19(12)" are one image in two versions."""
    stem = name.rsplit(".", 1)[0] if name.lower().endswith(IMAGE_SUFFIXES) else name
    return stem.replace(" ", "").lower()


def _urls(path: Path) -> dict[str, str]:
    """Read FILE NAME and URL of a workbook, which is untrusted: a zip file with XML."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_TABLE:
            raise UserError(f"{path}: unpacks to {size} bytes; no table of names is that large")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        header, *body = (
            [str(value or "").strip() for value in row]
            for row in book.worksheets[0].iter_rows(values_only=True)
        )
        book.close()
        name, url = (header.index(column) for column in ("FILE NAME", "URL"))
        return {_bare(row[name]): row[url] for row in body if row[name]}
    except UserError:
        raise
    except Exception as error:
        # openpyxl raises anything from KeyError to zlib.error on damaged workbooks.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: not a readable workbook ({reason})") from None
