"""Overrides that others wrote: what is allowed of them, and what is kept from others.

A sweep.yaml may come from anybody. Hydra's overrides can name code to call (`_target_`), read the
environment (`${oc.env:...}`) and reach for files by interpolation, so what a sheet may set is said
here by what is allowed: choices of our own configuration tree, and plain values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import HydraException

from hideseek.config import PLACE_KEYS, config_folder
from hideseek.errors import UserError
from hideseek.sweep.untrusted import LONGEST_TEXT, shown

HIDDEN = "***"
"""Stands where a secret was left out."""

_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
_LOCAL = re.compile(r"data(\.source)?\.(folder|cache|export_masks)|trainer\.default_root_dir")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_CODE = "model.net.target"


def safe_overrides(overrides: Sequence[str], where: str, given: Collection[str] = ()) -> list[str]:
    """Keep what may be run of recorded overrides.

    Args:
        overrides: as recorded.
        where: the cell, for messages.
        given: keys that the user gives on the command line; what is recorded of them is dropped.

    Returns:
        The overrides as they stand, without those that are local to a machine.

    Raises:
        UserError: one could run code, read the environment, or means something else than a value.
    """
    kept = [text for text in overrides if not is_local(text) and key_of(text) not in given]
    for text in kept:
        reason = _refusal(text, given)
        if reason is not None:
            raise UserError(f"{where}: override {shown(text)} {reason}")
    return kept


def key_of(override: str) -> str:
    """Return the key or group of an override: "seed" of "+seed=1"."""
    return override.lstrip("+~").partition("=")[0].strip()


def is_local(override: str) -> bool:
    """Tell whether an override says where and how a cell runs, not what it computes."""
    key = key_of(override)
    return re.split(r"[./@]", key)[0] in PLACE_KEYS or _LOCAL.fullmatch(key) is not None


def masked(override: str) -> str:
    """Hide the value of an override whose key sounds like a secret."""
    head, equals, value = override.partition("=")
    inside = value.lstrip().startswith(("{", "[")) and _SECRET.search(value)
    secret = equals and (_SECRET.search(head) or inside)
    return f"{head}='{HIDDEN}'" if secret else override


def without_secrets(value: Any, key: str = "") -> Any:  # noqa: ANN401
    """Hide the values of keys that sound like secrets, however deep.

    Args:
        value: built-in values.
        key: that it stands under.

    Returns:
        A copy.
    """
    if value is not None and _SECRET.search(key):
        return HIDDEN
    if isinstance(value, dict):
        return {name: without_secrets(item, str(name)) for name, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


@cache
def parser() -> OverridesParser:
    """Return Hydra's parser of overrides."""
    return OverridesParser.create()


def _refusal(text: str, given: Collection[str]) -> str | None:
    """Say why an override may not be run; None where it may."""
    key = key_of(text)
    name = key if all(map(_PART.fullmatch, re.split(r"[./]", key))) and len(key) < 100 else "KEY"
    instead = f"; give {name}=... on the command line"
    if len(text) > LONGEST_TEXT or not text.isprintable():
        return f"is no text that a person would type{instead}"
    if "_target_" in text:
        return "names code to call (_target_)"
    if text.partition("=")[2].startswith("~/"):
        return f"is a path in the home of another user{instead}"
    try:
        override = parser().parse_override(text)
    except (HydraException, RecursionError):
        return f"cannot be read by Hydra{instead}"
    if override.type not in (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD):
        return "deletes a setting"
    if override.package is not None:
        return "puts a group elsewhere (@)"
    if override.is_sweep_override():
        return "stands for several values"
    parts = re.split(r"[./]", override.key_or_group)
    if any(part.startswith("_") for part in parts):
        return "sets a key of Hydra's own that starts with _"
    if not all(_PART.fullmatch(part) for part in parts):
        return "has an odd key"
    if parts[0] == "datamodule":
        return "sets what only repeats other settings; give those"
    if parts[-1] == "target":
        return f"names code to import; read it, then{instead[1:]}"
    group = config_folder() / override.key_or_group
    if "/" in override.key_or_group or ("." not in override.key_or_group and group.is_dir()):
        return _refused_choice(override, given)
    return _refused_value(override.value(), instead, override.key_or_group)


def _refused_choice(override: Override, given: Collection[str]) -> str | None:
    value = override.value()
    for choice in value if isinstance(value, list) else [value]:
        name = choice.text if isinstance(choice, QuotedString) else choice
        if not isinstance(name, str) or not _PART.fullmatch(name):
            return "is no choice of a group"
        if override.key_or_group == "model" and name == "external" and _CODE not in given:
            return f"imports code of the sweep's owner; read it, then give {_CODE}=... yourself"
        if not (config_folder() / override.key_or_group / f"{name}.yaml").is_file():
            return "is a choice that this installation does not have"
    return None


def _refused_value(value: object, instead: str, key: str) -> str | None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not _PART.fullmatch(str(name)) or str(name) == "target":
                return f"has the key {shown(str(name))}, with which code can be called"
            if is_local(f"{key}.{name}=x"):
                return f"sets {key}.{name}, which is of another machine"
            if (reason := _refused_value(item, instead, f"{key}.{name}")) is not None:
                return reason
        return None
    if isinstance(value, list):
        return next((r for item in value if (r := _refused_value(item, instead, key))), None)
    if isinstance(value, str | QuotedString):
        text = value.text if isinstance(value, QuotedString) else value
        # Looked for in the parsed value, because Hydra reads "$\{" as "${".
        if "${" in text:
            return "has an interpolation (${...}), which could read the environment"
        if text == HIDDEN:
            return f"was left out as a secret{instead}"
        return None
    return None if value is None or isinstance(value, bool | int | float) else "is no plain value"
