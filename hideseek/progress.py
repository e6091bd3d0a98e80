"""A progress bar with an estimate, for whatever takes long."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress(title: str, total: int) -> tuple[Progress, Callable[[int], None]]:
    """Make a progress bar with an estimate of the time left, and the function that moves it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        # In a notebook rich would ask for a package that draws widgets.
        console=Console(force_jupyter=False),
    )
    task = bar.add_task(title, total=total)
    return bar, lambda count: bar.advance(task, count)
