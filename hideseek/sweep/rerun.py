"""`hideseek rerun`: the cells of somebody's sweep.yaml on this machine, compared with the original.

The sheet is untrusted: only overrides that `trust.py` lets through are run, on data whose manifest
has the recorded hash, by the same launcher as any other sweep.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from hideseek import __version__
from hideseek.config import config_folder, register
from hideseek.data.cache import CacheRecipe
from hideseek.errors import UserError
from hideseek.report.tables import WIDTH
from hideseek.sweep.cells import quoted
from hideseek.sweep.comparison import compare, comparison_table, seed_noise, summary
from hideseek.sweep.reuse import cell_recipe, data_key
from hideseek.sweep.sheet import FILE, Outcome, Sheet, code_hash, completed, read_sheet
from hideseek.sweep.trust import is_local, key_of, masked, parser, safe_overrides
from hideseek.sweep.untrusted import shown


@dataclass(frozen=True)
class Options:
    """What stands on the command line after the path.

    Attributes:
        sweep: name of the rerun, None for the default.
        other_data: whether data of another manifest may be used.
        own: all else, for Hydra.
    """

    sweep: str | None
    other_data: bool
    own: tuple[str, ...]


def rerun(path: Path, overrides: Sequence[str]) -> None:
    """Run the cells of a sheet again and print original against rerun.

    Args:
        path: of a sweep.yaml, a sweep's folder or a bundle.
        overrides: of the command line; see `hideseek.sweep.verbs.USAGE`.

    Raises:
        UserError: the sheet cannot be used, or the data are not the recorded ones.
        SystemExit: a cell failed, with the status of the sweep, after the comparison.
    """
    options = read_options(overrides)
    sheet = read_sheet(path)
    if path.is_dir():
        sheet = completed(sheet, path)
    if not sheet.cells:
        raise UserError(f"{path}: lists no cell")
    name = options.sweep or f"{re.sub(r'[^A-Za-z0-9_-]+', '_', sheet.name)[:80]}-rerun"
    if name == sheet.name:
        raise UserError(f"sweep={name} is the original's name; give another")
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    _say(console, differences(sheet))
    local = (text for cell in sheet.cells for text in cell.overrides if is_local(text))
    if dropped := ", ".join(map(shown, dict.fromkeys(local))):
        _say(console, [f"not taken over, as of the other machine: {dropped}"])
    # What all cells share is part of the sweep, so that it is not part of the cells' names.
    words = [f"sweep={quoted(name)}", *shared_overrides(sheet, options.own), *options.own]
    cells = recorded_cells(sheet, [text for text in words if not _is_hydras(text)])
    configs = _composed(sheet, cells, [text for text in words if _is_hydras(text)])
    folder = Path(str(configs[0].hydra.sweep.dir))
    if path.exists() and folder.resolve() in (path.resolve(), path.resolve().parent):
        raise UserError(f"sweep={name} is the original itself; give another name")
    _check_data(sheet, configs, options.other_data, console)
    recorded = ["hydra/sweeper=recorded", f"hydra.sweeper.sheet={quoted(str(path.absolute()))}"]
    status = _train(["-m", *recorded, *words])
    if status in (0, 1) and (folder / FILE).is_file():
        _compare(sheet, cells, folder, console)
    if status:
        raise SystemExit(status)


def read_options(words: Sequence[str]) -> Options:
    """Take apart what stands on the command line.

    Args:
        words: after the path.

    Returns:
        The options.

    Raises:
        UserError: a word is no override, or stands for several values.
    """
    sweep, other_data, own = None, False, []
    for word in words:
        try:
            override = parser().parse_override(word)
        except HydraException:
            raise UserError(f"{shown(word)} is no KEY=VALUE; see hideseek rerun --help") from None
        if override.is_sweep_override():
            raise UserError(f"{word}: a rerun runs the recorded cells; give one value")
        key, value = override.key_or_group, override.value()
        if key == "sweep":
            sweep = str(getattr(value, "text", value))
        elif key == "allow_other_data":
            if not isinstance(value, bool):
                raise UserError(f"{word}: give allow_other_data=true or false")
            other_data = value
        else:
            own.append(word)
    return Options(sweep, other_data, tuple(own))


def recorded_cells(sheet: Sheet, own: Sequence[str]) -> list[list[str]]:
    """Make the overrides of every cell from a sheet and the command line.

    Args:
        sheet: untrusted.
        own: of the command line; they replace what is recorded of the same key.

    Returns:
        One list per cell, in the sheet's order, safe to run.

    Raises:
        UserError: a recorded override may not be run, or two cells would become one.
    """
    given = {key_of(text) for text in own}
    typed = [_spelled(text) for text in own]
    cells = [
        [*safe_overrides(cell.overrides, f"cell {cell.folder}", given), *typed]
        for cell in sheet.cells
    ]
    seen: dict[tuple[str, ...], str] = {}
    for cell, overrides in zip(sheet.cells, cells, strict=True):
        twin = seen.setdefault(tuple(sorted(overrides)), cell.folder)
        if twin != cell.folder:
            raise UserError(
                f"with these overrides the cells {twin} and {cell.folder} are the same; "
                "leave out what the sweep varies"
            )
    return cells


def _spelled(override: str) -> str:
    """Spell an override as Hydra's own sweeper does, so that cells are named as there."""
    parsed = parser().parse_override(override)
    if parsed.is_delete():
        return override
    return f"{parsed.get_key_element()}={parsed.get_value_element_as_str()}"


def shared_overrides(sheet: Sheet, own: Sequence[str]) -> list[str]:
    """List what every cell was given, without what the command line gives.

    Args:
        sheet: untrusted.
        own: of the command line.

    Returns:
        Overrides, safe to run.

    Raises:
        UserError: a recorded override may not be run.
    """
    first, *others = recorded_cells(sheet, own)
    recorded = first[: len(first) - len(own)]
    return [text for text in recorded if all(text in cell for cell in others)]


def differences(sheet: Sheet) -> list[str]:
    """Say in at most two lines how the original's code and packages differ from these."""
    lines = []
    if (sheet.version, sheet.code_hash) != (__version__, now := code_hash()):
        lines.append(
            f"other code: the original ran hideseek {sheet.version} (code {sheet.code_hash}), "
            f"this is {__version__} (code {now})"
        )
    packages = [
        f"{name} {there} there, {here} here"
        for name, there in sheet.packages.items()
        if (here := _installed(name)) != there
    ]
    return [*lines, f"other packages: {'; '.join(packages)}"] if packages else lines


def _installed(package: str) -> str:
    try:
        return version(package)
    except (PackageNotFoundError, ValueError):
        return "none"


def _is_hydras(override: str) -> bool:
    """Tell what Hydra keeps from a sweeper: its own settings."""
    return bool(parser().parse_override(override).is_hydra_override())


def _composed(
    sheet: Sheet, cells: Sequence[Sequence[str]], hydras: Sequence[str]
) -> list[DictConfig]:
    register()
    configs = []
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        for cell, overrides in zip(sheet.cells, cells, strict=True):
            try:
                config = compose("train", [*hydras, *overrides], return_hydra_config=True)
            except (HydraException, OmegaConfBaseException) as error:
                reason = " ".join(str(error).split())[:300]
                raise UserError(f"cell {cell.folder}: cannot be composed here: {reason}") from None
            configs.append(config)
    return configs


def _check_data(
    sheet: Sheet, configs: Sequence[DictConfig], allowed: bool, console: Console
) -> None:
    """Hold the data here against the recorded hashes, once for cells that share them."""
    checked = set()
    for cell, config in zip(sheet.cells, configs, strict=True):
        if cell.outcome is None:
            continue
        key = data_key(config), cell.outcome.manifest_hash, cell.outcome.recipe_hash
        if key not in checked:
            checked.add(key)
            _compare_data(cell.folder, cell.outcome, cell_recipe(config), allowed, console)


def _compare_data(
    name: str, outcome: Outcome, recipe: CacheRecipe, allowed: bool, console: Console
) -> None:
    if recipe.manifest_hash != outcome.manifest_hash:
        what = (
            f"cell {name}: the data are not the original's: manifest {recipe.manifest_hash} here, "
            f"{outcome.manifest_hash} there"
        )
        if not allowed:
            raise UserError(f"{what}; allow_other_data=true runs the sweep on them all the same")
        _say(console, [what])
    elif recipe.digest() != outcome.recipe_hash:
        segmenters = recipe.segmenter_hash, outcome.segmenter_hash
        why = "another segmenter" if segmenters[0] != segmenters[1] else "files or preprocessing"
        _say(console, [
            f"cell {name}: the same manifest, but another cache ({why}): {recipe.digest()} here, "
            f"{outcome.recipe_hash} there"
        ])  # fmt: skip


def _train(words: Sequence[str]) -> int:
    """Run the sweep through the command's own entry and return its exit status."""
    from hideseek.__main__ import main

    before = sys.argv
    sys.argv = [before[0], "train", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0


def _compare(sheet: Sheet, cells: Sequence[Sequence[str]], folder: Path, console: Console) -> None:
    again = completed(read_sheet(folder), folder)
    ran = {cell.overrides: cell for cell in again.cells}
    found = {
        cell.folder: ran[key]
        for cell, overrides in zip(sheet.cells, cells, strict=True)
        if (key := tuple(map(masked, overrides))) in ran
    }
    compared = compare(sheet, found)
    compared.write_csv(folder / "comparison.csv")
    console.print()
    console.print(comparison_table(compared, f"{folder.name}: accuracy on the test set"))
    _say(console, [summary(compared, seed_noise(sheet)), f"comparison: {folder}/comparison.csv"])


def _say(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
