"""`hideseek doctor`: what of this machine works, what is missing, and what to do about it.

    checks of `installed` and `machine` -> list[Finding] -> a table, and a line for each problem

A check says what it found and raises nothing, so that a broken package is a row and no traceback.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from hideseek.errors import UserError
from hideseek.installed import Finding, extras, packages, python
from hideseek.machine import (
    devices,
    imagenet,
    place,
    shared_memory,
    shipped,
    threads,
    usable_cores,
    weights_and_biases,
)

USAGE = """hideseek doctor

  Versions, devices, W&B, folders, extras and weights: what works here, and what is missing for
  which setting. Reaches no network, and prints no key.

  Examples

    hideseek doctor
    HIDESEEK_CACHE=/scratch/cache hideseek doctor     the folders that a run would use

  Exit status: 0 training and auditing can work, 1 the problems named at the end"""


def doctor(words: Sequence[str]) -> int:
    """Look at everything and print it.

    Args:
        words: of the command line, after the verb.

    Returns:
        The exit status; see `USAGE`.

    Raises:
        UserError: there are words.
    """
    if set(words) & {"-h", "--help"}:
        print(USAGE)
        return 0
    if words:
        raise UserError(f"'{words[0]}' is unknown; doctor takes no settings")
    found = examine()
    _print(found)
    return int(any(each.state == "problem" for each in found))


def examine() -> list[Finding]:
    """Run all checks on this machine."""
    cores, needed = usable_cores(), _requirements()
    found = [python(sys.version_info[:3]), *packages(needed, _version, _imported)]
    found.append(Finding("CPU", "ok", f"{cores} usable cores of {os.cpu_count()}"))
    torch, models = _imported("torch"), _imported("torchvision.models")
    # That they are broken has been said.
    if not isinstance(torch, Exception):
        found += [*devices(torch), threads(torch.get_num_threads(), cores, os.environ)]
    found.append(weights_and_biases(os.environ, _has_key))
    cache = os.environ.get("HIDESEEK_CACHE") or "cache"
    for name, path in (("cache", cache), ("multirun", "multirun"), ("temp", tempfile.gettempdir())):
        found.append(place(name, Path(path)))
    found += [*shared_memory(Path("/dev/shm")), shipped()]
    if not isinstance(torch, Exception) and not isinstance(models, Exception):
        found.append(imagenet(Path(torch.hub.get_dir()) / "checkpoints", models))
    return [*found, *extras(needed, _version, shutil.which("sbatch"))]


def _requirements() -> list[str]:
    try:
        return requires("hideseek") or []
    except PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _imported(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken library raises OSError, RuntimeError and others
        return error


def _has_key() -> bool | Exception:
    module = _imported("hideseek.wandb_run")
    return module if isinstance(module, Exception) else bool(module.has_wandb_key())


def _print(found: Sequence[Finding]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hideseek.report.tables import WIDTH

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("", "state", "found", "what to do"):
        table.add_column(name, overflow="fold")
    colours = {"ok": "green", "note": "yellow", "problem": "bold red"}
    for each in found:
        state = Text(each.state, style=colours[each.state])
        table.add_row(each.name, state, Text(each.detail), Text(each.remedy))
    console.print(table)
    problems = [each for each in found if each.state == "problem"]
    for each in problems:
        line = f"problem: {each.name}: {each.detail}; {each.remedy}"
        console.print(Text(line), soft_wrap=True)
    if not problems:
        console.print("training and auditing can work here")
