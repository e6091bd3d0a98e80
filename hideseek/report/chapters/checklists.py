"""Reporting checklists, filled in as far as a sweep can: CLAIM 2024 and TRIPOD+AI.

Items are data (`checklists/*.yaml` in this package): number, what the item asks in our own words,
the key of the fact that answers it, and what only the authors can add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import polars as pl

from hideseek.report.chapter import Chapter, Table
from hideseek.report.evidence import Evidence
from hideseek.report.sweep_facts import sweep_facts
from hideseek.sweep.untrusted import Fields, read_yaml

NAMES = ("claim_2024", "tripod_ai")
AUTHORS = "to be filled in by the authors"


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: such as "12a".
        section: of the manuscript.
        asks: in short, in our own words.
        fact: key of `sweep_facts`; empty where a sweep can say nothing.
        rest: what only the authors can add; empty if nothing.
    """

    number: str
    section: str
    asks: str
    fact: str = ""
    rest: str = ""


@dataclass(frozen=True)
class Checklist:
    """A reporting guideline: its name, its DOI and its items in order."""

    name: str
    doi: str
    items: tuple[Item, ...]


def read_checklist(name: str) -> Checklist:
    """Read a checklist that comes with the package.

    Args:
        name: one of `NAMES`.

    Returns:
        The checklist.
    """
    where = f"{name}.yaml"
    text = (files("hideseek.report") / "checklists" / where).read_text(encoding="utf-8")
    content = Fields(read_yaml(text, where), where)
    items = tuple(
        Item(
            each.text("number"),
            each.text("section"),
            each.text("asks"),
            each.text("fact") if "fact" in each else "",
            each.text("rest") if "rest" in each else "",
        )
        for each in (Fields(item, where) for item in content.content["items"])
    )
    return Checklist(content.text("name"), content.text("doi"), items)


def filled(checklist: Checklist, facts: Mapping[str, str]) -> pl.DataFrame:
    """Fill in what is known.

    Args:
        checklist: to fill in.
        facts: sentences by key; an item whose key is absent is left to the authors.

    Returns:
        `item`, `section`, `asks`, `answer` and `authors`: what they have to add, empty if nothing.
    """
    rows = []
    for item in checklist.items:
        answer = facts.get(item.fact, "")
        rest = item.rest or ("" if answer else item.asks.lower())
        rows.append((item.number, item.section, item.asks, answer or AUTHORS, rest))
    names = ("item", "section", "asks", "answer", "authors")
    return pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")


def chapter(evidence: Evidence) -> Chapter:
    """Fill in both checklists.

    Args:
        evidence: of the sweep.

    Returns:
        A table for each.
    """
    facts, tables, lines = sweep_facts(evidence), [], []
    for name in NAMES:
        checklist = read_checklist(name)
        frame = filled(checklist, facts)
        answered = frame.filter(pl.col("answer") != AUTHORS)
        whole = answered.filter(pl.col("authors") == "").height
        lines.append(
            f"{checklist.name} (doi {checklist.doi}): of {frame.height} items {whole} are filled "
            f"in, {answered.height - whole} in part, and {frame.height - answered.height} are left "
            "to the authors."
        )
        caption = (
            f"{checklist.name}: item numbers are the guideline's, what they ask is told in short, "
            "in our own words; the guideline itself holds."
        )
        headings = {"answer": "from this sweep", "authors": "left to the authors"}
        tables.append(Table(name, caption, frame, headings))
    sentence = (
        "A draft for a manuscript: what follows from the files of this sweep is filled in. It is "
        "no proof that a study complies; check every sentence."
    )
    return Chapter("checklists", "Reporting checklists", (sentence, *lines), tuple(tables))
