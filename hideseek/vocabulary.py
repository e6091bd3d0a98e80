"""What can be typed after `hideseek`, read from conf/ and the usage texts, so never stale.

    conf/VERB.yaml -> its groups -> choices, keys, values in comments
    usage texts    -> keys, options, words

Called by `hideseek.completion`; imports no network library.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]

from hideseek.sweep.verbs import FOLDER_VERBS, LONE_VERBS, USAGE

LONE_FILES = {
    "selftest": "audit/selftest.py",
    "doctor": "doctor.py",
    "completion": "completion.py",
}
"""Where the usage of a verb is written that prints its own; importing it may take seconds."""

NOT_OFFERED = ("hydra/help", "hydra/job_logging")
PRESETS = ("experiment",)
"""Groups whose files set keys of other groups."""

SAFE = re.compile(r"[\w./=+-]+")
"""Whatever else a word might hold would mean something to a shell."""

Settings = dict[str, tuple[str, ...]]
"""Keys or groups, each with the values that are known."""


class Words(NamedTuple):
    """What can follow a verb.

    Attributes:
        plain: options, words, keys without a dot ("model="), and what dotted keys begin with
            ("data.").
        dotted: the other keys.
        values: keys with a value.
        path: whether a path may be the first word.
    """

    plain: tuple[str, ...]
    dotted: tuple[str, ...]
    values: tuple[str, ...]
    path: bool


def vocabulary(conf: Path) -> dict[str, Words]:
    """Collect the words of every verb.

    Args:
        conf: the configuration tree.

    Returns:
        Verbs in alphabetical order.
    """
    trees = {path.stem: hydra_settings(conf, path.stem) for path in sorted(conf.glob("*.yaml"))}
    found = {}
    for verb in sorted({*trees, *FOLDER_VERBS, *LONE_VERBS}):
        text = usage(conf, verb)
        settings, bare = usage_words(verb, text)
        # What a rerun takes is what its cells take.
        own = trees.get(verb, {} if "[overrides]" not in text else trees["train"])
        bare |= {"-m"} if verb == "train" else set()
        found[verb] = _words({**settings, **own}, bare, verb in FOLDER_VERBS)
    return found


def usage(conf: Path, verb: str) -> str:
    """Return the text that explains a verb; of `audit`, which has two, both."""
    text = USAGE.get(verb, "")
    template = conf / "hydra" / "help" / f"{verb}.yaml"
    if template.is_file():
        text += "\n" + yaml.safe_load(template.read_text())["template"]
    if verb in LONE_FILES:
        text += "\n" + _written(Path(__file__).parent / LONE_FILES[verb])
    return text


def usage_words(verb: str, text: str) -> tuple[Settings, set[str]]:
    """Find in a usage text what can be typed.

    Args:
        verb: that it is about.
        text: of the usage.

    Returns:
        Settings such as `[margin=0.02]`, or first in a line, of which only `true`, `false` and
        `all` are taken for choices; and options and words such as `--quick` and `paper`.
    """
    settings: Settings = {}
    for key, value in re.findall(r"(?:\[|^ +)([a-z][a-z_]*)=(\w*)", text, re.MULTILINE):
        values = (value,) if value in ("true", "false", "all") else ()
        settings[key] = tuple(dict.fromkeys(settings.get(key, ()) + values))
    words = {"--help", *re.findall(r"(?<!\S)\[?(--[a-z]+)", text)}
    words |= set(re.findall(rf"^ *hideseek {verb} ([a-z]+)(?=\s|$)", text, re.MULTILINE))
    for several in re.findall(rf"^ *hideseek {verb} ([a-z]+(?:\|[a-z]+)+)", text, re.MULTILINE):
        words |= set(several.split("|"))
    return settings, words


def hydra_settings(conf: Path, verb: str) -> Settings:
    """Collect the groups, keys and known values of a verb that Hydra composes.

    Args:
        conf: the configuration tree.
        verb: name of a file at its top.
    """
    found: Settings = {}
    waiting, seen = [(verb, conf / f"{verb}.yaml")], set()
    while waiting:
        place, path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        top = path.parent == conf
        group = "" if top else place
        if group.partition("/")[0] not in PRESETS:
            found |= {key: values or found.get(key, ()) for key, values in _keys(path, group)}
        for name in _defaults(path, group):
            members = sorted((conf / name).glob("*.yaml"))
            if members and name not in NOT_OFFERED:
                found[name] = tuple(member.stem for member in members)
                waiting += [(name, member) for member in members]
            elif top:
                waiting.append((name, conf / f"{name}.yaml"))  # `check` builds on `prepare`
    return found


def _words(settings: Mapping[str, tuple[str, ...]], bare: set[str], path: bool) -> Words:
    keys = sorted(key for key in settings if SAFE.fullmatch(key))
    dotted = [f"{key}=" for key in keys if "." in key]
    stems = {key.partition(".")[0] + "." for key in dotted}
    plain = {*(f"{key}=" for key in keys if "." not in key), *stems, *bare}
    values = [f"{key}={value}" for key in keys for value in settings[key]]
    safe = tuple(value for value in values if SAFE.fullmatch(value))
    return Words(tuple(sorted(plain)), tuple(dotted), safe, path)


def _defaults(path: Path, group: str) -> Iterator[str]:
    """Name the groups and files that a file builds on."""
    content = yaml.safe_load(path.read_text())
    entries = content.get("defaults", ()) if isinstance(content, dict) else ()
    for entry in entries:
        key = entry if isinstance(entry, str) else str(next(iter(entry)))
        name = key.removeprefix("override ").partition("@")[0]
        if name != "_self_":
            yield name.lstrip("/") if name.startswith("/") or not group else f"{group}/{name}"


def _keys(path: Path, group: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Walk over the settings of a file."""
    text = path.read_text()
    package = re.search(r"^# @package (\S+)", text, re.MULTILINE)
    prefix = package[1].replace("_global_", "") if package else group.replace("/", ".")
    root = yaml.compose(text)
    if isinstance(root, yaml.MappingNode):
        yield from _leaves(root, prefix, text.splitlines(), top=not group)


def _leaves(
    node: yaml.MappingNode, prefix: str, lines: list[str], top: bool = False
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, value in node.value:
        name = key.value
        if name.startswith("_") or (not key.start_mark.column and name == "defaults"):
            continue
        if top and name == "hydra":
            continue
        path = f"{prefix}.{name}".lstrip(".")
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, path, lines)
        else:
            yield path, _choices(value, lines)


def _choices(value: yaml.Node, lines: list[str]) -> tuple[str, ...]:
    """Read the choices that a comment lists as `one | another`, words in brackets left out."""
    if value.tag.endswith(":bool"):
        return ("true", "false")
    end = value.end_mark
    trailing = lines[end.line][end.column :] if end.line < len(lines) else ""
    comment = trailing.partition("#")[2].partition(";")[0]
    parts = [part.strip() for part in re.sub(r"\(.*?\)|\[.*?\]", "", comment).split("|")]
    if len(parts) < 2 or not isinstance(value, yaml.ScalarNode):
        return ()
    return tuple(part for part in parts if re.fullmatch(r"[\w.-]+", part))


def _written(path: Path) -> str:
    """Read the constant USAGE of a module without importing it."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "USAGE":
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
    return ""
