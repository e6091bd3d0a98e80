"""`hideseek selftest`: how often the audit is right, and how often it cries wolf, on planted truth.

    carriers x strengths x images x seeds -> rehearsal.rehearse -> outcomes -> selftest.{csv,json}

At strength 0 nothing tells the classes apart, whatever the carrier: there a verdict that claims
anything is a false alarm. At full strength the verdict has to name what carries the class. With
`real=` the same is planted on real radiographs whose labels are thrown away.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hideseek import __version__
from hideseek.audit.outcomes import EXPECTED, expected, outcome, summarize
from hideseek.audit.planted import Background, Planted
from hideseek.audit.rehearsal import Rehearsal, rehearse
from hideseek.errors import UserError

FEWEST = 60
"""Images with which each split has every class."""

REAL = ("none", "opacity", "marker", "gain")
"""Carriers that can be pasted on a real radiograph: `hideseek.data.paste.CARRIERS`."""

USAGE = f"""hideseek selftest [--quick] [KEY=VALUE ...]

  --quick                   one seed, strengths 0 and 1, 480 images: 17 data sets
  seeds=100-104             numbers and ranges; the audit's rule was made on 100 and 101
  strengths=0,0.25,0.5,1    of the planted signal, 0..1
  images=240,480            of a data set; a quarter of them are test images
  carriers=NAME,...         by default {", ".join(EXPECTED)}
  real=MANIFEST             plant on these radiographs, which need lung masks, instead of phantoms;
                            carriers are then {", ".join(REAL)}
  root=FOLDER               of the manifest's paths; by default the manifest's own
  source=NAME               the only source to take
  folder=multirun/selftest  what is finished there is kept
  workers=N                 processes; by default one for each processor

  Examples

    hideseek selftest --quick
    hideseek selftest seeds=200-201 images=240 folder=multirun/selftest

  Exit status: 0 the goals hold, 1 they do not"""


@dataclass(frozen=True)
class Options:
    """What is planted, and where.

    Attributes:
        seeds: of drawing and training.
        strengths: of the signal, 0..1.
        images: sizes of the data sets.
        carriers: some of `EXPECTED`, or of `REAL`.
        folder: for the sweeps and the results.
        workers: processes; 0 for one a processor.
        real: manifest of radiographs to plant on; None for phantoms.
        root: folder that its paths are relative to; None for its own.
        source: the only source to take; None for all.
    """

    seeds: tuple[int, ...] = (100, 101, 102, 103, 104)
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    images: tuple[int, ...] = (240, 480)
    carriers: tuple[str, ...] = tuple(EXPECTED)
    folder: Path = Path("multirun/selftest")
    workers: int = 0
    real: str | None = None
    root: str | None = None
    source: str | None = None


QUICK: dict[str, Any] = {"seeds": (100,), "strengths": (0.0, 1.0), "images": (480,)}


def selftest(words: Sequence[str]) -> int:
    """Plant, train, audit and count.

    Args:
        words: of the command line, after the verb.

    Returns:
        The exit status; see `USAGE`.

    Raises:
        UserError: unknown or unfit words.
    """
    if set(words) & {"-h", "--help"}:
        print(USAGE)
        return 0
    from hideseek.progress import progress
    from hideseek.report.selftest import print_selftest
    from hideseek.sweep.launcher import sole_owner

    options = read_options(words)
    background = background_of(options)
    planted = plan(options, background)
    options.folder.mkdir(parents=True, exist_ok=True)
    bar, advance = progress("data sets", len(planted))
    workers = options.workers or len(os.sched_getaffinity(0))
    with sole_owner(options.folder), bar:
        found = rehearse(planted, options.folder, workers, advance)
    summary = summarize(found)
    write(options.folder, found, summary)
    print_selftest(found, summary)
    print(f"selftest: {options.folder / 'selftest.json'}")
    return 0 if all(goal["met"] for goal in summary["goals"].values()) else 1


def read_options(words: Sequence[str]) -> Options:
    """Read the words of the command line.

    Raises:
        UserError: naming the first that is unknown or out of range.
    """
    given: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            if word == "--quick":
                given = {**QUICK, **given}
            elif key == "seeds":
                given[key] = tuple(n for part in value.split(",") for n in _range(part))
            elif key in ("images", "strengths"):
                kind = int if key == "images" else float
                given[key] = tuple(kind(part) for part in value.split(","))
            elif key == "carriers":
                given[key] = tuple(value.split(","))
            elif key in ("folder", "workers"):
                given[key] = Path(value) if key == "folder" else int(value)
            elif key in ("real", "root", "source"):
                given[key] = value
            else:
                known = ", ".join(Options.__dataclass_fields__)
                raise UserError(f"'{word}' is unknown; known are --quick, {known}")
        except ValueError:
            raise UserError(f"{word}: '{value}' is not a list of numbers") from None
    if "real" in given:
        given = {"carriers": REAL, **given}
    return _checked(Options(**given))


def _checked(options: Options) -> Options:
    """Refuse what is out of range."""
    known, on = (tuple(EXPECTED), "") if options.real is None else (REAL, " on real radiographs")
    unknown = [name for name in options.carriers if name not in known]
    if unknown:
        raise UserError(f"carriers={unknown[0]} is unknown{on}; known are {', '.join(known)}")
    if options.real is None and (options.root, options.source) != (None, None):
        raise UserError("root and source are of real radiographs; give real=MANIFEST too")
    if not all(0 <= strength <= 1 for strength in options.strengths):
        raise UserError("strengths: give numbers in 0..1")
    if not options.seeds:
        raise UserError("seeds: give at least one")
    if min(options.images) < FEWEST or options.workers < 0:
        raise UserError(f"give images={FEWEST} or more, and workers=1 or more")
    return options


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def background_of(options: Options) -> Background | None:
    """Look at the radiographs to plant on; None for phantoms.

    Raises:
        UserError: there is no such manifest, or nothing in it has a mask.
    """
    if options.real is None:
        return None
    from hideseek.data.pasted import PasteRecipe, backgrounds, rows_hash

    recipe = PasteRecipe(options.real, options.root, options.source)
    digest = rows_hash(recipe, backgrounds(recipe))[:8]
    return Background(options.real, options.root, options.source, digest)


def plan(options: Options, background: Background | None = None) -> list[Planted]:
    """List the data sets; `none` has no signal whatever its strength, so it is there once."""
    planted = [
        Planted(carrier, strength, images, seed, background)
        for seed in options.seeds
        for images in options.images
        for strength in options.strengths
        for carrier in options.carriers
        if strength == 0 or carrier != "none"
    ]
    # Given twice, one would be trained by two workers at once.
    return list(dict.fromkeys(planted))


def write(folder: Path, found: Sequence[Rehearsal], summary: Mapping[str, Any]) -> None:
    """Write selftest.csv, one row a data set, and selftest.json."""
    import polars as pl

    from hideseek.record import write_json

    names = [field.name for field in fields(Planted) if field.name != "background"]
    rows = [
        {
            **{name: getattr(each.planted, name) for name in names},
            "background": each.planted.on,
            "expected": expected(each.planted),
            "verdict": each.verdict,
            "outcome": outcome(each.planted, each.verdict),
            "failing": each.failing,
            **each.scores,
        }
        for each in found
    ]
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "selftest.csv")
    background = found[0].planted.background
    head = {
        "format": 1,
        "version": __version__,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": list(found[0].planted.settings),
        "background": None if background is None else asdict(background),
    }
    write_json(folder / "selftest.json", {**head, **summary})
