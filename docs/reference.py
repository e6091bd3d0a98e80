"""The configuration reference in Markdown, read from conf/ itself so that it cannot be stale.

    conf/**/*.yaml -> read_choice -> Choice -> configuration (one page)

A setting is explained by its comment in the YAML file or else by the docstring of what the file
calls, which is parsed and not imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml  # type: ignore[import-untyped]

INTRODUCTION = """# Configuration reference

Made from `conf/` when this site is built. A setting is typed on the command line as `KEY=VALUE`, a
choice as `GROUP=NAME`; with `-m`, `KEY=A,B` is a sweep. `${a.b}` is the value of the setting `a.b`,
so a model's recipe decides unless you do. `???` has to be given. `hideseek VERB --help` shows the
values as they stand after your overrides.
"""
CALLED = ("_target_", "_partial_")
SECTIONS = ("Args:", "Attributes:")
WITHOUT_TABLES = ("hydra/help", "hydra/job_logging")
"""Groups that nobody sets key by key."""


@dataclass(frozen=True)
class Setting:
    """One key of a file.

    Attributes:
        key: as typed on the command line.
        default: as the file spells it.
        meaning: comment or docstring; may be empty.
    """

    key: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Choice:
    """One YAML file.

    Attributes:
        path: relative to conf/.
        group: such as "hydra/launcher"; "" for the file of a verb.
        name: of the choice.
        about: what it is, one or more sentences; may be empty.
        calls: import path of what it builds; may be empty.
        builds_on: its defaults list, as overrides.
        settings: its own keys.
    """

    path: str
    group: str
    name: str
    about: str
    calls: str
    builds_on: tuple[str, ...]
    settings: tuple[Setting, ...]


def configuration(conf: Path, code: Path) -> str:
    """Write the page.

    Args:
        conf: the configuration tree.
        code: folder that holds the package `hideseek`.

    Returns:
        Markdown; every YAML file of the tree is named in it.
    """
    choices = [read_choice(path, conf, code) for path in sorted(conf.rglob("*.yaml"))]
    verbs = [choice for choice in choices if not choice.group]
    parts = [INTRODUCTION, "## Verbs {#verbs}\n", _overview(verbs, "verb")]
    parts += [_chapter([choice], f"`hideseek {choice.name}`") for choice in verbs]
    for group in dict.fromkeys(choice.group for choice in choices if choice.group):
        members = [choice for choice in choices if choice.group == group]
        parts += [f"## `{group}` {{#{group.replace('/', '-')}}}\n", _overview(members, "choice")]
        if group in WITHOUT_TABLES:
            continue
        # Representations share their settings: one table for those that are alike.
        alike: dict[object, list[Choice]] = {}
        for choice in members:
            alike.setdefault((choice.settings, choice.builds_on), []).append(choice)
        for same in alike.values():
            more = f" and {len(same) - 1} more" if len(same) > 1 else ""
            parts.append(_chapter(same, f"`{group}={same[0].name}`{more}"))
    return "\n".join(parts)


def read_choice(path: Path, conf: Path, code: Path) -> Choice:
    """Read one file.

    Args:
        path: of the file.
        conf: the configuration tree.
        code: folder that holds the package `hideseek`.

    Returns:
        What it says.
    """
    text = path.read_text()
    lines = text.splitlines()
    inside = path.relative_to(conf)
    group = "" if inside.parent == Path() else inside.parent.as_posix()
    header = list(_header(lines))
    said = next((re.sub("# @package *", "", line) for line in header if "@package" in line), None)
    package = group.replace("/", ".") if said is None else said.replace("_global_", "")
    about = [line.removeprefix("#").strip() for line in header if "@package" not in line]
    root = yaml.compose(text)
    settings: list[Setting] = []
    builds_on: tuple[str, ...] = ()
    calls = ""
    if isinstance(root, yaml.MappingNode):
        content = yaml.safe_load(text)
        builds_on = tuple(_default(entry, group) for entry in content.get("defaults", ()))
        found = list(_leaves(root, package))
        targets = {key.rpartition(".")[0]: node.value for key, node in found
                   if key.endswith("_target_")}  # fmt: skip
        calls = next(iter(targets.values()), "") if group else ""
        for key, node in found:
            holder, _, name = key.rpartition(".")
            if name not in CALLED and not key.startswith("defaults"):
                described = docstring(targets[holder], code)[1] if holder in targets else {}
                meaning = _comment(node, lines, len(header)) or described.get(name, "")
                settings.append(Setting(key, _spelled(node, lines), meaning))
    elif not about and root is not None:
        about = [_comment(root, lines, len(header))]
    about = about or ([docstring(calls, code)[0]] if calls else [])
    sentence = " ".join(about)
    return Choice(inside.as_posix(), group, path.stem, sentence, calls, builds_on, tuple(settings))


@cache
def docstring(target: str, code: Path) -> tuple[str, dict[str, str]]:
    """Find what the docstring of a function or class says of it and of its arguments.

    Args:
        target: import path, such as "hideseek.roi.silhouette".
        code: folder that holds the package `hideseek`.

    Returns:
        The first line and the text for each argument; nothing for what is not in the package.
    """
    module, _, name = target.rpartition(".")
    place = code / Path(*module.split("."))
    file = next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)
    if file is None:
        return "", {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            text = ast.get_docstring(node) or ""
            made = [each for each in node.body if getattr(each, "name", "") == "__init__"]
            start = ast.get_docstring(made[0]) if made else None  # type: ignore[arg-type]
            return text.partition("\n")[0], dict(_arguments(f"{start or ''}\n\n{text}"))
    return "", {}


def _arguments(text: str) -> Iterator[tuple[str, str]]:
    """Split the sections of a Google docstring that name arguments."""
    for section in re.split(r"\n\n(?=\w+:\n)", text):
        title, _, body = section.partition("\n")
        if title.strip() in SECTIONS:
            for entry in re.split(r"\n(?=    \S)", body):
                name, _, meaning = entry.strip().partition(":")
                yield name, " ".join(meaning.split())


def _header(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def _leaves(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Walk to every value that is not a mapping with keys."""
    for key, value in node.value:
        path = f"{prefix}.{key.value}".removeprefix(".")
        if key.value == "defaults" and not node.start_mark.column:
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _comment(node: yaml.Node, lines: list[str], first: int) -> str:
    """Collect the comment behind a value, and those in the lines above that stand alone."""
    last = node.end_mark
    trailing = lines[last.line][last.column :] if last.line < len(lines) else ""
    behind = trailing.partition("#")[2].strip() if trailing.lstrip().startswith("#") else ""
    above: list[str] = []
    at = node.start_mark.line - 1
    while at >= first and lines[at].lstrip().startswith("#"):
        above.insert(0, lines[at].strip(" #"))
        at -= 1
    return " ".join((*above, behind)).strip()


def _spelled(node: yaml.Node, lines: list[str]) -> str:
    """Spell a value as the file does; a long text is only named."""
    start, end = node.start_mark, node.end_mark
    if start.line != end.line:
        return "(a list)" if isinstance(node, yaml.SequenceNode) else "(text)"
    return lines[start.line][start.column : end.column] or '""'


def _default(entry: object, group: str) -> str:
    """Spell an entry of a defaults list as an override; names are relative to the file's group."""
    if not isinstance(entry, dict):
        return f"{group}={entry}" if group and entry != "_self_" else str(entry)
    ((key, value),) = entry.items()
    name = str(key).removeprefix("override ")
    place = name.lstrip("/") if name.startswith("/") or not group else f"{group}/{name}"
    spelled = f"[{','.join(value)}]" if isinstance(value, list) else value
    return f"{place}={'null' if spelled is None else spelled}"


def _overview(choices: list[Choice], title: str) -> str:
    rows = [f"| {title} | what it is | file |", "|---|---|---|"]
    rows += [f"| `{c.name}` | {_cell(c.about)} | `conf/{c.path}` |" for c in choices]
    return "\n".join(rows) + "\n"


def _chapter(choices: list[Choice], title: str) -> str:
    """Write one table for choices that have the same settings."""
    first = choices[0]
    anchor = "-".join(filter(None, (first.group.replace("/", "-"), first.name)))
    parts = [f"### {title} {{#{anchor}}}\n"]
    further = [each for each in first.builds_on if each not in ("_self_", "train_schema")]
    if further:
        parts.append("Starts from " + ", ".join(f"`{each}`" for each in further) + ".\n")
    if len(choices) > 1:
        others = ", ".join(f"`{choice.name}`" for choice in choices[1:])
        parts.append(f"The same for {others}.\n")
    elif first.calls:
        parts.append(f"Calls `{first.calls}`.\n")
    if first.settings:
        rows = [f"| `{s.key}` | `{s.default}` | {_cell(s.meaning)} |" for s in first.settings]
        parts.append("\n".join(["| setting | default | meaning |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    """Escape what Markdown tables and HTML would read; backquotes keep their meaning."""
    pieces = re.split(r"(`[^`]*`)", text.replace("|", "&#124;"))
    plain = [piece.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
             for piece in pieces[::2]]  # fmt: skip
    codes = [piece.replace("&#124;", "|") for piece in pieces[1::2]]
    return "".join(a + b for a, b in zip(plain, [*codes, ""], strict=True))
