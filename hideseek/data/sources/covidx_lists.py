"""COVID-Net's label lists, of all versions of COVIDx: text lines to patient, file, class, source.

Read by `covidx`, which knows where the files are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hideseek.data.problems import Problem
from hideseek.data.sources.labels import COVID19, NORMAL, PNEUMONIA
from hideseek.data.sources.listing import IMAGE_SUFFIXES
from hideseek.errors import UserError

CLASSES = {
    **{"normal": NORMAL, "pneumonia": PNEUMONIA, "covid-19": COVID19},
    **{"positive": COVID19, "negative": ""},
}
"""Words of the lists, lower case; "negative" (V6 on) mixes normal and pneumonia."""


@dataclass(frozen=True)
class Line:
    """A line of a list: `patient file class [source]`, the source "" where it is left out."""

    patient: str
    name: str
    finding: str
    source: str


def read_list(root: Path, file: str) -> tuple[list[Line], list[Problem]]:
    """Read one of COVID-Net's lists: of any version, with 3, 4 or 5 fields in a line.

    Args:
        root: the data root.
        file: the list, relative to it.

    Returns:
        Its lines in order, and a "bad_line" for each line that is none.

    Raises:
        UserError: the file cannot be read, or no line is as expected.
    """
    try:
        text = (root / file).read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{root / file}: cannot be read ({error.strerror or error})") from None
    lines, problems = [], []
    for number, words in enumerate(text.split("\n"), start=1):
        line = parse_line(words)
        if line is not None:
            lines.append(line)
        elif words.strip():
            reason = f"line {number} is not 'patient file class [source]': {words.strip()[:80]!r}"
            problems.append(Problem(file, "bad_line", "error", reason, "left out"))
    if not lines:
        raise UserError(f"{root / file}: no line is 'patient file class [source]'; is it a list?")
    return lines, problems


def parse_line(text: str) -> Line | None:
    """Take a line apart from its right end, since patients may hold blanks ("COVID 12").

    Returns:
        None where there is no class, no image file before it, or a name that is no plain file name.
    """
    *words, last = text.split() or [""]
    source = "" if last.lower() in CLASSES else last.lower()
    finding = words.pop() if source and words else last
    if len(words) < 2 or finding.lower() not in CLASSES:
        return None
    patient, name = " ".join(words[:-1]), words[-1]
    plain = name.isprintable() and not set(name) & set("/\\")
    if not (plain and name.lower().endswith(IMAGE_SUFFIXES) and patient.isprintable()):
        return None
    return Line(patient, name, finding, source) if re.fullmatch(r"[\w-]*", source) else None
