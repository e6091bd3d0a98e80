"""Small folders as the sources ship them, and what every reader has to hold to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl
import pytest

from hideseek.data.sources.listing import COLUMNS, Listing
from hideseek.errors import UserError

Reader = Callable[[Path], Listing]


def files(root: Path, names: Iterable[str]) -> None:
    """Write files that are never decoded here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"pixels")


def by_path(found: Listing) -> dict[str, dict[str, str]]:
    assert found.rows.columns[: len(COLUMNS)] == list(COLUMNS)
    return {row["path"]: row for row in found.rows.iter_rows(named=True)}


def kinds(found: Listing) -> dict[str, list[str]]:
    sorted_kinds: dict[str, list[str]] = {}
    for problem in found.problems:
        sorted_kinds.setdefault(problem.kind, []).append(problem.file)
    return sorted_kinds


def agree(pack: Path, found: Listing, sources: list[str], columns: list[str]) -> pl.DataFrame:
    """Hold a listing against the pack's manifest, and return both side by side."""
    manifest = pl.read_csv(pack / "manifest.csv", infer_schema=False).fill_null("")
    known = manifest.filter(pl.col("source").is_in(sources))
    joined = known.join(found.rows, left_on="image", right_on="path", how="left", suffix="_read")
    assert joined.height == known.height > 0
    for column in columns:
        wrong = joined.filter(pl.col(column).ne_missing(pl.col(f"{column}_read")))
        assert wrong.select("image", column, f"{column}_read").rows() == []
    return joined


def same_patients(joined: pl.DataFrame) -> None:
    """Two images of one patient in the reading are of one patient in the manifest, too."""
    merged = joined.group_by("patient_id_read").agg(pl.col("patient_id").n_unique())
    assert merged.filter(pl.col("patient_id") > 1).rows() == []


def survive_damage(reader: Reader, root: Path, table: Path, rounds: int = 100) -> None:
    """Damage a table in many ways: a listing of files that exist, or one line."""
    original = table.read_bytes()
    outcomes = set()
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        data = bytearray(original)
        for _ in range(int(rng.integers(1, 5))):
            at = int(rng.integers(0, max(1, len(data))))
            match int(rng.integers(0, 5)):
                case 0:
                    data[at : at + 1] = rng.bytes(1)
                case 1:
                    del data[at : at + int(rng.integers(1, 40))]
                case 2:
                    data[at:at] = (b'"', b",,", b"\n", b"\x00\xff", b"../../../etc/passwd")[at % 5]
                case 3:
                    data[at:at] = data[at : at + 80]
                case 4:
                    data = data[: max(at, 1)]
        table.write_bytes(bytes(data))
        try:
            found = reader(root)
        except UserError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
        else:
            outcomes.add("listed")
            for path in found.rows.get_column("path"):
                assert ".." not in PurePosixPath(path).parts
                assert (root / path).is_file()
            assert all("\n" not in problem.reason for problem in found.problems)
    table.write_bytes(original)
    assert "listed" in outcomes


def refuses(reader: Reader, root: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        reader(root)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
