"""YAML that others wrote: it becomes plain values or one line, and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from hideseek.errors import UserError

LONGEST_TEXT = 10_000
"""Characters of one value; a number of more digits takes Python minutes to read."""

DEEPEST = 20
MOST_VALUES = 500_000
"""Of a file; a cell takes about 50."""

LARGEST_NUMBER = 1e15
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(text: str, where: str) -> object:
    """Read YAML that may be hostile.

    Args:
        text: of the file.
        where: its name, for messages.

    Returns:
        Built-in values: mappings, lists, texts, numbers, dates.

    Raises:
        UserError: not YAML, a tag, an alias or merge (with which a small file can be huge), or
            values that are too many, too long or too deep.
    """
    depth = count = 0
    try:
        # The parser of events does not recurse, the one of values does and could be made to crash.
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise UserError(f"{where}: nested more than {DEEPEST} deep; not a file of ours")
            value = getattr(event, "value", None) or ""
            if isinstance(event, yaml.AliasEvent) or value == "<<":
                raise UserError(f"{where}: line {_line(event)} has an alias; not a file of ours")
            if (count := count + 1) > MOST_VALUES:
                raise UserError(f"{where}: more than {MOST_VALUES} values; not a file of ours")
            if len(value) > LONGEST_TEXT:
                raise UserError(
                    f"{where}: line {_line(event)} is longer than {LONGEST_TEXT} characters; "
                    "not a file of ours"
                )
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"line {mark.line + 1}: "
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UserError(f"{where}: {place}cannot be read ({shown(str(reason))})") from None


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1


@dataclass(frozen=True)
class Fields:
    """A mapping of unknown content, read field by field.

    Attributes:
        content: what was read.
        where: file and place, for messages.

    Raises:
        UserError: by every method, and at once where the content is no mapping.
    """

    content: Any
    where: str

    def __post_init__(self) -> None:
        """Check that it is a mapping."""
        if not isinstance(self.content, dict):
            raise UserError(f"{self.where}: not a mapping; not a file of ours")

    def __contains__(self, name: str) -> bool:
        """Tell whether a field is there."""
        return name in self.content

    def wrong(self, name: str, expected: str) -> UserError:
        """Say that a field is missing or not what was expected."""
        what = "is missing" if name not in self.content else f"is not {expected}"
        return UserError(f"{self.where}: the field '{name}' {what}")

    def text(self, name: str) -> str:
        """Read a line of printable text."""
        value = self.content.get(name)
        if not isinstance(value, str) or not value.isprintable():
            raise self.wrong(name, "a line of text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Read a list of any texts."""
        value = self.content.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def number(self, name: str) -> float | None:
        """Read a number of moderate size, or null."""
        value = self.content.get(name)
        if name not in self.content or (value is not None and not _is_number(value)):
            raise self.wrong(name, "a number or null")
        number: float | None = value
        return number

    def below(self, name: str) -> Fields:
        """Go into a field that is itself a mapping."""
        if not isinstance(self.content.get(name), dict):
            raise self.wrong(name, "a mapping")
        return Fields(self.content[name], f"{self.where}: {name}")

    def names(self) -> Iterator[str]:
        """Go through the names of the fields."""
        for name in self.content:
            if not isinstance(name, str) or not name.isprintable():
                raise UserError(f"{self.where}: the name {shown(str(name))} is not a line of text")
            yield name


def read_fields(path: Path) -> Fields:
    """Read a YAML file of anybody's that holds a mapping.

    Args:
        path: of the file.

    Returns:
        Its fields.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no text.
        UserError: it is not a file of ours.
    """
    return Fields(read_yaml(path.read_text(), str(path)), str(path))


def check_plain(value: object, where: str) -> None:
    """Check that there is nothing but mappings, lists, texts, numbers, booleans and null.

    Args:
        value: of unknown content.
        where: file and place, for messages.

    Raises:
        UserError: there is something else.
    """
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str | int):
                raise UserError(f"{where}: the name {shown(str(name))} is not a text")
            check_plain(item, f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            check_plain(item, where)
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise UserError(f"{where} is a {type(value).__name__}, not a plain value")


def shown(text: str) -> str:
    """Spell a text of unknown origin for one line of a terminal."""
    return repr(text if len(text) <= 100 else f"{text[:97]}...")


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < LARGEST_NUMBER  # neither infinite nor not a number
    )
