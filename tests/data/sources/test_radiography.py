from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import openpyxl
import pytest

from hideseek.data.sources import radiography
from hideseek.errors import UserError
from tests.data.sources.layout import by_path, files, kinds, refuses, survive_damage

PLACE = "COVID-19-Radiography-Database"
TABLE = f"{PLACE}/COVID-19.metadata.xlsx"
HEADER = ["FILE NAME", "FORMAT", "SIZE", "URL"]


def write(path: Path, *rows: list[str]) -> None:
    book = openpyxl.Workbook()
    for row in (HEADER, *rows):
        book.active.append(row)
    book.save(path)


def rewrite(path: Path, change) -> None:
    """Change the XML of the first sheet."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(content) if name == sheet else content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / PLACE
    files(place, ["COVID-19/COVID-19 (12).png", "NORMAL/NORMAL (1).png"])
    files(place, ["Viral Pneumonia/images/Viral Pneumonia-3.png", "Lung_Opacity/images/x.png"])
    files(place, ["Viral Pneumonia/masks/Viral Pneumonia-3.png", "Other/y.png"])
    write(tmp_path / TABLE, ["COVID-19(12)", "PNG", "1024*1024", "https://sirm.org/12"],
          ["COVID-19(13)", "PNG", "1024*1024", "https://sirm.org/13"],
          ["COVID-19(13)", "PNG", "1024*1024", "https://sirm.org/13"])  # fmt: skip
    return tmp_path


def test_layout(root: Path) -> None:
    found = radiography.read(root)
    rows = {Path(path).name: row for path, row in by_path(found).items()}
    assert {name: row["label"] for name, row in rows.items()} == {
        "COVID-19 (12).png": "covid19",
        "NORMAL (1).png": "normal",
        "Viral Pneumonia-3.png": "pneumonia",
        "x.png": "",
    }
    assert {row["source"] for row in rows.values()} == {"radiography"}
    assert rows["COVID-19 (12).png"]["url"] == "https://sirm.org/12"
    assert (rows["x.png"]["finding"], rows["x.png"]["url"]) == ("Lung_Opacity", "")
    mask = f"{PLACE}/Viral Pneumonia/masks/Viral Pneumonia-3.png"
    assert rows["Viral Pneumonia-3.png"]["mask"] == mask
    assert rows["COVID-19 (12).png"]["mask"] == ""


def test_images_against_the_workbook(root: Path) -> None:
    found = radiography.read(root)
    assert kinds(found) == {
        "duplicate_row": [TABLE],
        "listed_absent": ["COVID-19(13)"],
        "unlisted": [
            f"{PLACE}/Other/y.png",
            f"{PLACE}/Lung_Opacity/images/x.png",
            f"{PLACE}/NORMAL/NORMAL (1).png",
            f"{PLACE}/Viral Pneumonia/images/Viral Pneumonia-3.png",
        ],
    }
    write(root / TABLE, *([f"COVID-19({n})", "", "", ""] for n in range(1, 1030)))
    (absent,) = (p for p in radiography.read(root).problems if p.kind == "listed_absent")
    assert (absent.file, absent.reason[:22]) == (TABLE, "1028 listed files are ")


def test_names_of_two_versions() -> None:
    key = radiography._key
    assert key("COVID-19 (12).png") == key("COVID-19(12)")
    assert key("NORMAL (1).PNG") == key("NORMAL-1")
    assert len({key("COVID-19 (1)"), key("COVID-191"), key("COVID-19 (11)"), key("NORMAL-1")}) == 4


def test_folders_of_other_sources_are_not_taken(root: Path) -> None:
    files(root, ["chest_xray/train/NORMAL/IM-0115-0001.jpeg"])
    assert len(radiography.read(root / PLACE).rows) == 4
    refuses(partial(radiography.read, folder="absent"), root, "with images; saw COVID-19-Radio")


def test_damage(root: Path) -> None:
    survive_damage(radiography.read, root, root / TABLE, 60)
    (root / TABLE).write_bytes(b"not a zip file")
    assert kinds(radiography.read(root))["table"] == [TABLE]
    refuses(partial(radiography.read, folder="../x"), root, "leaves the data root")


def bomb(content: bytes) -> bytes:
    row = b'<row r="1048576"><c r="XFD1048576" t="n"><v>1</v></c></row></sheetData>'
    return content.replace(b"</sheetData>", row).replace(b"A1:D4", b"A1:XFD1048576")


def entities(content: bytes) -> bytes:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    start = f'<!DOCTYPE worksheet [<!ENTITY e0 "aaaaaaaaaa">{levels}]><worksheet'.encode()
    return content.replace(b"<worksheet", start, 1).replace(b"</sheetData>", b"&e9;</sheetData>")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (bomb, "more than 100000 rows"),
        (entities, "not a readable workbook"),
        (lambda content: content + bytes(radiography.LARGEST_TABLE), "no table of names is that"),
        (lambda content: content[:200], "not a readable workbook"),
    ],
    ids=["cells", "entities", "bytes", "truncated"],
)
def test_hostile_workbooks(root: Path, change, words: str) -> None:
    rewrite(root / TABLE, change)
    with pytest.raises(UserError, match=words) as caught:
        radiography.read_workbook(root / TABLE)
    assert "\n" not in str(caught.value)
    assert len(radiography.read(root).rows) == 4


def test_workbook_without_names(root: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["name", "link"])
    book.active.append(["a", "b"])
    book.save(root / TABLE)
    (problem,) = (p for p in radiography.read(root).problems if p.kind == "table")
    assert "no column 'FILE NAME'; it has name, link" in problem.reason


def test_real_workbooks(pack: Path) -> None:
    refuses(radiography.read, pack, "with images; saw COVID-19.metadata.xlsx")
    rows = radiography.read_workbook(pack / PLACE / "NORMAL.metadata.xlsx")
    assert [row["FILE NAME"] for row in rows] == [f"NORMAL-{n}" for n in range(1, 1342)]
    assert all(row["URL"].startswith("https://www.kaggle.com/") for row in rows)
    # The pack's other two copies lack their first 4,096 bytes, the table of contents included.
    for name in ("COVID-19", "Viral Pneumonia"):
        with pytest.raises(UserError, match="not a readable workbook"):
            radiography.read_workbook(pack / PLACE / f"{name}.metadata.xlsx")
