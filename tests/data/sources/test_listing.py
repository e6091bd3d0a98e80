from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.sources.listing import (
    COLUMNS,
    MANY,
    FileIndex,
    Matcher,
    column,
    listing,
    optional,
    read_rows,
    source_folder,
    spellings,
)
from hideseek.errors import UserError
from tests.data.sources.layout import files, kinds


def test_rows_have_all_columns_in_order() -> None:
    found = listing([{"path": "a", "age": "3"}, {"path": "b", "sex": "F"}])
    assert found.rows.columns == [*COLUMNS, "age", "sex"]
    assert found.rows.row(1, named=True)["age"] == ""


def test_tables_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        path.write_bytes('name, age,name,\n"Müller, K." ,3,x\n,,\n Zoë\n'.encode(encoding))
        assert read_rows(path) == [{"name": "Müller, K.", "age": "3"}, {"name": "Zoë", "age": ""}]


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    with pytest.raises(UserError, match=r"t\.csv: cannot be read"):
        read_rows(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"t\.csv: not a CSV table \(it is empty\)"):
        read_rows(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a,b\n1,x"y\n2,"q" z\n', [{"a": "1", "b": 'x"y'}, {"a": "2", "b": "q z"}]),
        ("a,b\r1,2\r", [{"a": "1", "b": "2"}]),
        ("\n\na,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
        ("a,b\n1\n2,3,4\n", [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]),
        ('a,b\n"x\ny","say ""so"""\n', [{"a": "x y", "b": 'say "so"'}]),
        ("a,b\n", []),
    ],
)
def test_tables_in_any_form(tmp_path: Path, text: str, expected: list[dict[str, str]]) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_rows(tmp_path / "t.csv") == expected


def test_an_open_quote_swallows_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,"x\n2,y\n3,z\n')
    with pytest.raises(UserError, match="a quote is never closed"):
        read_rows(tmp_path / "t.csv")


def test_error_lines_stay_short(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"a\nb",' + ",".join(f"column{n}" for n in range(999)) + "\n1")
    with pytest.raises(UserError) as caught:
        column(read_rows(tmp_path / "t.csv"), ("finding",), tmp_path / "t.csv")
    assert "it has a b, column0," in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    try:
        rows = read_rows(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(len(value.splitlines()) <= 1 for row in rows for value in row.values())


def test_columns_by_any_spelling(tmp_path: Path) -> None:
    rows = [{"Patientid": "1", " view": "PA"}]
    assert column(rows, ("patient_id",), tmp_path) == "Patientid"
    assert optional(rows, "view") == " view"
    assert optional(rows, "modality") == ""
    assert spellings(rows, ("view", "age", "patientid")) == {
        **{"view": " view", "patientid": "Patientid"}
    }
    with pytest.raises(UserError, match="no column 'finding'; it has Patientid"):
        column(rows, ("finding",), tmp_path)


def test_files_by_their_names(tmp_path: Path) -> None:
    files(tmp_path, ["s/images/a.JPG", "s/images/b.png", "s/images/b.jpg", "s/x/c 1.jpeg"])
    files(tmp_path, ["s/images/readme.txt", "s/ö.dcm"])
    index = FileIndex(tmp_path, "s")
    assert len(index.files) == 5
    assert index.find("b.png") == "s/images/b.png"
    assert index.find("A.jpg") == "s/images/a.JPG"
    assert index.find("a.png") == index.find("a") == "s/images/a.JPG"
    assert index.find("b") is None  # two files are called so
    assert index.find("c 1.png") == "s/x/c 1.jpeg"
    assert index.find("ö.dcm") == "s/ö.dcm"
    assert index.find("../secret.png") is None


def test_a_file_is_never_guessed_by_case(tmp_path: Path) -> None:
    files(tmp_path, ["s/a.png", "s/A.png"])
    index = FileIndex(tmp_path, "s")
    assert (index.find("a.png"), index.find("A.png")) == ("s/a.png", "s/A.png")
    assert index.find("A.PNG") is None


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    files(tmp_path, ["far/a.png", "s/b.png"])
    (tmp_path / "s/linked").symlink_to(tmp_path / "far")
    (tmp_path / "s/circle").symlink_to(tmp_path / "s")
    assert FileIndex(tmp_path, "s").files == ["s/b.png", "s/linked/a.png"]


def test_folders(tmp_path: Path) -> None:
    files(tmp_path, ["set/images/a.png"])
    assert source_folder(tmp_path, "set", "images", "images/") == "set"
    assert source_folder(tmp_path / "set", "set", "images", "images/") == ""
    with pytest.raises(UserError, match=r"expected table\.csv; saw images/"):
        source_folder(tmp_path, "set", "table.csv", "table.csv")
    with pytest.raises(UserError, match="no such folder"):
        source_folder(tmp_path / "gone", "set", "images", "images/")
    for place in ("../set", "/etc", "a/../../b", "a\0b"):
        with pytest.raises(UserError, match="leaves the data root"):
            source_folder(tmp_path / "set", place, "images", "images/")


def matched(root: Path, *named: tuple[str, str]) -> Matcher:
    matcher = Matcher(FileIndex(root, "i"), "table.csv")
    for name, label in named:
        matcher.add(name, {"label": label, "finding": label})
    return matcher


def test_what_does_not_fit_is_reported(tmp_path: Path) -> None:
    files(tmp_path, ["i/a.png", "i/b.jpg", "i/c.png", "i/d.png"])
    found = matched(
        tmp_path, ("a.png", "x"), ("a.png", "x"), ("b.png", "x"), ("c.png", "x"), ("c.png", "y"),
        ("e.png", "x"),
    ).listing("i")  # fmt: skip
    assert found.rows.get_column("path").to_list() == ["i/a.png", "i/b.jpg"]
    assert kinds(found) == {
        "duplicate_row": ["i/a.png"],
        "other_extension": ["i/b.jpg"],
        "label_conflict": ["i/c.png"],
        "listed_absent": ["e.png"],
        "unlisted": ["i/d.png"],
    }


def test_many_absent_files_are_counted(tmp_path: Path) -> None:
    files(tmp_path, ["i/a.png"])
    names = [("a.png", "x"), *((f"{number}.png", "x") for number in range(MANY + 1))]
    (problem,) = matched(tmp_path, *names).listing("i").problems
    assert (problem.file, problem.reason.split()[0]) == ("table.csv", str(MANY + 1))


def test_many_unlisted_files_are_counted(tmp_path: Path) -> None:
    files(tmp_path, ["i/a.png", *(f"i/{number}.png" for number in range(MANY + 1))])
    (problem,) = matched(tmp_path, ("a.png", "x")).listing("i").problems
    assert (problem.kind, problem.reason.split()[0]) == ("unlisted", str(MANY + 1))


def test_no_file_at_all(tmp_path: Path) -> None:
    files(tmp_path, ["i/a.png"])
    with pytest.raises(
        UserError, match=r"none of its 1 images is in i, .* 1 images; .* named 'b.png'"
    ):
        matched(tmp_path, ("b.png", "x")).listing("i")
