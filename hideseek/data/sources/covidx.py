"""COVIDx, the data of the paper: published lists of names, joined to the raw folders they draw on.

One of the readers between raw data and the manifest. COVID-Net publishes which images belong to
COVIDx, with class and split, and not the images, so the lists come first here and the disk second:
every listed image is a row, and `on_disk` says whether it is there. What is known without pixels
(source, view, sex, age) is joined for all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import polars as pl

from hideseek.data.problems import Problem, Severity
from hideseek.data.sources.covidx_lists import CLASSES, Line, read_list
from hideseek.data.sources.folders import inside
from hideseek.data.sources.labels import COVID19, NORMAL, PNEUMONIA
from hideseek.data.sources.listing import (
    FileIndex,
    Listing,
    column,
    listing,
    read_rows,
    source_folder,
)
from hideseek.errors import UserError

ORIGINS = {
    "cohen": "github.com/ieee8023/covid-chestxray-dataset",
    "fig1": "github.com/agchung/Figure1-COVID-chestxray-dataset",
    "actmed": "github.com/agchung/Actualmed-COVID-chestxray-dataset",
    "sirm": "the COVID-19 Radiography Database on Kaggle, version 1 (later ones renumber)",
    "rsna": "the RSNA Pneumonia Detection Challenge on Kaggle, stage 2 training images",
    "nih": "nihcc.app.box.com/v/ChestXray-NIHCC",
}
"""Where the images of a source come from, as COVIDx names the sources."""

_PERSON = {"view": "view", "sex": "sex", "age": "age"}
_HEADER = {
    **{"view": "ViewPosition", "sex": "PatientSex", "age": "PatientAge"},
    "pixel_spacing": "PixelSpacing",
}
_TABLES = {
    "cohen": ("metadata.csv", "filename", _PERSON),
    "fig1": ("metadata.csv", "patientid", _PERSON),
    "actmed": ("metadata.csv", "imagename", _PERSON),
    "rsna": ("dicom_headers_covidx5.csv", "PatientID", _HEADER),
}
_JOIN = ("rsna_to_nih.csv", "rsna_patientId", {"nih": "nih_image"})

UNKNOWN = "unknown"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def read(
    root: Path,
    folder: str = "COVID-Net",
    train: str | None = "labels/train_COVIDx5.txt",
    test: str | None = "labels/test_COVIDx5.txt",
    cohen: str = "covid-chestxray-dataset",
    figure1: str = "Figure1-COVID-chestxray-dataset",
    actmed: str = "Actualmed-COVID-chestxray-dataset",
    radiography: str = "COVID-19-Radiography-Database",
    rsna: str = "rsna-pneumonia",
    nih: str = "ChestX-ray14",
) -> Listing:
    """List COVIDx as published: 13,958 and 300 images in the version of the paper, V5.

    An image is looked for in the folder of its source, then below `folder/data`, where COVID-Net's
    own script puts it. RSNA images are NIH ChestX-ray14 images under other names: where
    `rsna_to_nih.csv` lies in the RSNA folder, the NIH file stands in, and `nih_patient` holds its
    patient. RSNA's own "patient ids", which COVIDx uses, are ids of images.

    Args:
        root: the data root; all further folders are relative to it.
        folder: of the lists.
        train: list of the training images, relative to `folder`; None to do without.
        test: list of the test images, likewise.
        cohen: folder of the Cohen collection; its metadata give view, sex and age.
        figure1: of Figure 1, likewise.
        actmed: of Actualmed, likewise.
        radiography: of the COVID-19 Radiography Database ("sirm").
        rsna: of the RSNA challenge; `dicom_headers_covidx5.csv` there gives view, sex, age and
            pixel spacing.
        nih: of NIH ChestX-ray14.

    Returns:
        Rows in the order of the lists, train first. Beyond the usual columns: `on_disk` ("yes" or
        "no"; `path` is the expected one where "no"), `listed_as` (name in the list), `format`
        (PNG or JPEG, by that name), `sex`, `age`, `pixel_spacing`, `nih_patient`.

    Raises:
        UserError: a list is missing or is none, or a table is damaged.
    """
    given = {"cohen": cohen, "fig1": figure1, "actmed": actmed, "sirm": radiography, "rsna": rsna}
    folders = {source: inside(place, source) for source, place in given.items()}
    lists = {
        split: inside(name, split) for split, name in (("train", train), ("test", test)) if name
    }
    place = _lists_folder(root, inside(folder, "folder"), lists)
    raw = _Raw(root, folders, inside(nih, "nih"), _joined(place, "data"))
    problems = [*raw.problems]
    rows: dict[str, dict[str, str]] = {}
    for split, name in lists.items():
        lines, bad = read_list(root, _joined(place, name))
        lines, inferred = _with_sources(lines, raw, _joined(place, name))
        twice = []
        for line in lines:
            row = raw.row(line, split)
            if rows.setdefault(row["path"], row) is not row:
                twice.append(line.name)
        problems += [*bad, *inferred]
        if twice:
            reason = f"{len(twice)} image(s) listed before, '{twice[0]}' is the first"
            found = Problem(_joined(place, name), "listed_twice", "warning", reason, "first kept")
            problems.append(found)
    listed = listing(list(rows.values()))
    return Listing(listed.rows, [*problems, *_absent(listed, folders)])


def availability(listing: Listing) -> pl.DataFrame:
    """Count what is listed and what is on disk, by split, class and source.

    Args:
        listing: as `read` returns it.

    Returns:
        Columns `split`, `label` (the list's own word where it is no class), `source`, `listed`,
        `on_disk`, `missing`. Splits, classes and sources in order, each split followed by its sum
        and all by the total, with "all" in the columns that are summed over.
    """
    label = pl.when(pl.col("label") == "").then("finding").otherwise("label").alias("label")
    rows = listing.rows.select("split", label, "source", there=pl.col("on_disk") == "yes")
    parts = [rows, rows.with_columns(label=pl.lit("all"), source=pl.lit("all"))]
    parts.append(parts[1].with_columns(split=pl.lit("all")))
    order = ["train", "val", "test", NORMAL, PNEUMONIA, COVID19]
    rank = {name: number for number, name in enumerate(order)} | {"all": len(order) + 1}
    counts = (
        pl.concat(parts)
        .group_by("split", "label", "source")
        .agg(listed=pl.len().cast(pl.Int64), on_disk=pl.col("there").sum().cast(pl.Int64))
        .with_columns(missing=pl.col("listed") - pl.col("on_disk"))
    )
    ranks = [
        pl.col(name).replace_strict(rank, default=len(order), return_dtype=pl.Int64)
        for name in ("split", "label")
    ]
    return counts.sort(*ranks, "label", "source")


class _Raw:
    """What the raw folders hold: the images, and what their tables say about them."""

    def __init__(self, root: Path, folders: Mapping[str, str], nih: str, built: str) -> None:
        self._root, self._folders, self._built = root, folders, built
        self.problems: list[Problem] = []
        self._said = {source: self._table(source, *table) for source, table in _TABLES.items()}
        joined = self._table("rsna", *_JOIN) if (root / folders["rsna"] / _JOIN[0]).exists() else {}
        self._nih_of = {image: row["nih"] for image, row in joined.items()}
        searched = {**folders, **({"nih": nih} if joined else {})}
        for source, place in searched.items():
            if not (root / place).is_dir():
                reason = f"no folder {root / place}; its images are at {ORIGINS[source]}"
                self._note(place, "missing_folder", reason, "images listed as absent")
        searched["cohen"] = _joined(folders["cohen"], "images")  # its masks share the names
        self._files = {source: FileIndex(root, place) for source, place in searched.items()}
        self._files["built"] = FileIndex(root, built)

    def knows(self, source: str, name: str) -> bool:
        """Whether a source's table or folder has a file of that name."""
        return name.lower() in self._said[source] or bool(self._exact(source, name))

    def row(self, line: Line, split: str) -> dict[str, str]:
        """Say all that is known of a listed image."""
        nih = self._nih_of.get(line.patient.lower(), "") if line.source == "rsna" else ""
        path = self._find(line, nih) or self._exact("built", line.name)
        stem = PurePosixPath(line.name).stem
        key = {"fig1": stem, "rsna": line.patient}.get(line.source, line.name).lower()
        return {
            **{"path": path or self._expected(line, split), "label": CLASSES[line.finding.lower()]},
            **{"source": line.source, "patient_id": f"{line.source}_{line.patient}"},
            **{"split": split, "finding": line.finding, "on_disk": "yes" if path else "no"},
            **{"listed_as": line.name, "format": _format(line.name)},
            **dict.fromkeys(_HEADER, ""),
            **self._said.get(line.source, {}).get(key, {}),
            "nih_patient": f"nih_{nih.partition('_')[0].lstrip('0')}" if nih else "",
        }

    def _find(self, line: Line, nih: str) -> str:
        if line.source == "rsna":  # DICOM where it is as shipped, whatever the list says
            found = self._files["rsna"].find(line.name)
            return found or (self._exact("nih", nih) if nih else "")
        if line.source == "sirm":
            return self._exact("sirm", line.name) or self._exact("sirm", _blank(line.name))
        return self._exact(line.source, line.name) if line.source in self._folders else ""

    def _exact(self, source: str, name: str) -> str:
        """Find a file, never under another extension: 000004.jpg and 000004.png are two images."""
        path = self._files[source].find(name) or ""
        return path if PurePosixPath(path).name.lower() == name.lower() else ""

    def _expected(self, line: Line, split: str) -> str:
        folder = self._folders.get(line.source, "")
        if line.source == "rsna":
            return _joined(folder, "stage_2_train_images", f"{PurePosixPath(line.name).stem}.dcm")
        if line.source == "sirm":
            below = "COVID-19" if line.name.startswith("COVID-19") else "COVID"
            return _joined(folder, below, _blank(line.name))
        if line.source in self._folders:
            return _joined(folder, "images", line.name)
        return _joined(self._built, split, line.name)

    def _table(
        self, source: str, name: str, key: str, fields: Mapping[str, str]
    ) -> dict[str, dict[str, str]]:
        """Read a source's table: key, lower case, to the wanted fields."""
        place = _joined(self._folders[source], name)
        path = self._root / place
        if not path.is_file():
            if path.parent.is_dir():  # or else the folder is what is missing
                reason = f"no {path}, which gives {', '.join(fields)} of {source}"
                self._note(place, "missing_table", reason, "left blank")
            return {}
        rows = read_rows(path)
        keys = column(rows, (key,), path)
        said: dict[str, dict[str, str]] = {}
        for row in rows:
            known = {field: row.get(name, "") for field, name in fields.items()}
            said.setdefault(row[keys].lower(), known)
        return said

    def _note(self, file: str, kind: str, reason: str, action: str) -> None:
        self.problems.append(Problem(file, kind, "warning", reason, action))


def _lists_folder(root: Path, folder: str, lists: Mapping[str, str]) -> str:
    """Find the folder of the lists, all of which must be there."""
    if not lists:
        raise UserError("train and test are both null; give at least one list of COVID-Net")
    origin = "from github.com/lindawangg/COVID-Net"
    places = [source_folder(root, folder, name, f"{name}, {origin}") for name in lists.values()]
    return places[0]


def _with_sources(lines: list[Line], raw: _Raw, file: str) -> tuple[list[Line], list[Problem]]:
    """Fill in the sources that lines leave out, each kind of inference told."""
    named: list[Line] = []
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in lines:
        if not line.source:
            source, why = UNKNOWN, "neither in Cohen's metadata or folder, nor a UUID"
            if raw.knows("cohen", line.name):
                source, why = "cohen", "the file is in Cohen's metadata or folder"
            elif UUID.fullmatch(line.patient):
                source, why = "rsna", "the patient is a UUID"
            told[source, why].append(line.name)
            line = replace(line, source=source)
        named.append(line)
    problems = []
    for (source, why), names in sorted(told.items()):
        severity: Severity = "warning" if source == UNKNOWN else "info"
        reason = f"no source in {len(names)} line(s), '{names[0]}' is the first: {why}"
        problems.append(Problem(file, "source_inferred", severity, reason, f"taken for {source}"))
    return named, problems


def _absent(listed: Listing, folders: Mapping[str, str]) -> list[Problem]:
    """Say what is missing, of which class and split, and where to get it."""
    missing = availability(listed).filter((pl.col("missing") > 0) & (pl.col("source") != "all"))
    problems = []
    for row in missing.sort("source", maintain_order=True).iter_rows(named=True):
        source = row["source"]
        origin = ORIGINS.get(source, "where docs/COVIDx.md of COVID-Net says")
        reason = (
            f"{row['missing']} of {row['listed']} {row['label']} images of {source} in "
            f"{row['split']} are not on disk; get them from {origin}"
        )
        place = folders.get(source, source)
        problems.append(Problem(place, "listed_absent", "warning", reason, "kept as on_disk=no"))
    return problems


def _joined(*parts: str) -> str:
    return PurePosixPath(*parts).as_posix()


def _blank(name: str) -> str:
    """Spell a name as the Radiography Database does, before COVID-Net took out the blank."""
    return name.replace("(", " (", 1)


def _format(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower().lstrip(".")
    return "JPEG" if suffix in ("jpg", "jpeg", "jfif") else suffix.upper()
