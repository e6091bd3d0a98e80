"""What is installed: Python, hideseek, what every command needs, and the extras.

Called by `hideseek.doctor`. Looking up versions and importing are given as functions, so that any
state of a machine can be judged on any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hideseek import __version__

FEATURES = {
    "timm": "model=timm",
    "tensorboard": "logger=tensorboard",
    "xrv": "data.segmenter=torchxrayvision",
    "slurm": "hydra/launcher=slurm",
    "ray": "hydra/launcher=ray",
    "dashboard": "hideseek dashboard",
    "dev": "make test",
}
"""What an extra of pyproject.toml is for."""

OLDEST_PYTHON = (3, 11)
MALICIOUS = (("lightning", "2.6.2"), ("lightning", "2.6.3"))
"""Releases that stole credentials (GHSA-w37p-236h-pfx3)."""

State = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        name: of what was looked at.
        state: "note" is worth knowing, a "problem" stops training or auditing.
        detail: what is there.
        remedy: what to do; empty where nothing has to be done.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def python(found: Sequence[int]) -> Finding:
    """Judge the version of Python."""
    text = ".".join(map(str, found))
    if tuple(found[:2]) < OLDEST_PYTHON:
        return Finding("python", "problem", text, "install Python 3.11 or newer")
    return Finding("python", "ok", text)


def packages(
    requirements: Sequence[str],
    installed: Callable[[str], str | None],
    imported: Callable[[str], Any],
) -> list[Finding]:
    """Hold what every command needs against what is there.

    Args:
        requirements: of the package, as its metadata lists them; those of extras are passed over.
        installed: version of a distribution, or None.
        imported: gives a module, or the exception that importing it raised.

    Returns:
        hideseek itself, then one finding for each package that is absent, of another version, or
        that cannot be imported; and one for the others together.
    """
    needed = [each for each in map(Requirement, requirements) if _extra(str(each)) is None]
    found = [Finding("hideseek", "ok", f"{__version__} in {Path(__file__).parent}")]
    if not needed:
        found = [Finding("hideseek", "note", f"{__version__}, not installed", "pip install -e .")]
    modules = _modules()
    well = []
    for each in needed:
        have = installed(each.name)
        if have is None or not each.specifier.contains(have, prereleases=True):
            detail = "not installed" if have is None else f"{have}, needed is {each.specifier}"
            found.append(
                Finding(each.name, "problem", detail, f"pip install '{each.name}{each.specifier}'")
            )
            continue
        module = imported(modules.get(canonicalize_name(each.name), each.name))
        if isinstance(module, Exception):
            remedy = f"pip install --force-reinstall {each.name}"
            found.append(broken(each.name, module, remedy))
        else:
            well.append(f"{each.name} {have}")
    if well:
        found.append(Finding("packages", "ok", ", ".join(well)))
    for name, bad in MALICIOUS:
        if installed(name) == bad:
            detail = f"{bad} steals credentials"
            found.append(
                Finding(name, "problem", detail, f"pip uninstall {name}; change your keys")
            )
    return found


def broken(name: str, error: Exception, remedy: str) -> Finding:
    """Say in a line that something cannot be used, and why."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return Finding(name, "problem", f"cannot be used: {reason}", remedy)


def extras(
    requirements: Sequence[str], installed: Callable[[str], str | None], sbatch: str | None
) -> list[Finding]:
    """Say for each extra whether it is there, and what is missing without it."""
    names: dict[str, list[str]] = {}
    for text in requirements:
        if (extra := _extra(text)) is not None:
            names.setdefault(extra, []).append(Requirement(text).name)
    found = []
    for extra, needed in names.items():
        purpose = f"for {FEATURES[extra]}" if extra in FEATURES else ""
        absent = [name for name in needed if installed(name) is None]
        if absent:
            remedy = f"pip install 'hideseek[{extra}]'"
            text = f"without {', '.join(absent)}; only needed {purpose}".rstrip()
            found.append(Finding(f"extra {extra}", "note", text, remedy))
        else:
            found.append(Finding(f"extra {extra}", "ok", f"is there, {purpose}".rstrip(", ")))
    where = f"sbatch is {sbatch}" if sbatch else "no sbatch; start Slurm sweeps on a login node"
    return [*found, Finding("Slurm", "ok" if sbatch else "note", where)]


@cache
def _modules() -> dict[str, str]:
    """Name the module that each installed distribution brings; of several, the one named alike."""
    found: dict[str, str] = {}
    for module, names in packages_distributions().items():
        for name in map(canonicalize_name, names):
            other = found.get(name, "_")
            if canonicalize_name(module) == name or other.startswith("_"):
                found[name] = module
    return found


def _extra(requirement: str) -> str | None:
    found = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
    return found[1] if found else None
