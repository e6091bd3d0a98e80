"""A sweep while it runs: a table of all cells on a terminal, lines elsewhere."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0
ENDED = ("done", "kept", "failed")


@dataclass
class CellState:
    """One cell as the sweep sees it.

    Attributes:
        name: of the cell.
        folder: of the cell.
        epochs: planned.
        monitor: column of history.csv that chooses the epoch.
        status: "waiting", "running", "done", "kept" or "failed".
        reason: of a failure.
        epoch: finished so far.
        score: of the last epoch; None where not known.
        started: on the clock of `time.monotonic`; 0 for a cell that did not run now.
        duration: seconds from start to end.
        first_epoch: how many epochs were finished when it started.
    """

    name: str
    folder: Path
    epochs: int
    monitor: str
    status: str = "waiting"
    reason: str = ""
    epoch: int = 0
    score: float | None = None
    started: float = 0.0
    duration: float = 0.0
    first_epoch: int = 0

    def start(self) -> None:
        """Note that it runs now."""
        self.read()
        self.status, self.started, self.first_epoch = "running", time.monotonic(), self.epoch

    def end(self, reason: str | None) -> None:
        """Note that it is over, and why if it failed."""
        self.read()
        self.status, self.reason = ("done", "") if reason is None else ("failed", reason)
        self.duration = time.monotonic() - self.started

    def read(self) -> None:
        """Take epoch and score from history.csv, which the cell writes."""
        try:
            with (self.folder / "history.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error):
            return
        self.epoch = len(rows)
        try:
            self.score = float(rows[-1][self.monitor])
        except (IndexError, KeyError, TypeError, ValueError):
            self.score = None

    def seconds_left(self, now: float) -> float | None:
        """Estimate from the epochs since the start; None before there is one."""
        finished = self.epoch - self.first_epoch
        if self.status != "running" or finished < 1:
            return None
        return max(0.0, (now - self.started) / finished * (self.epochs - self.epoch))


def sweep_seconds_left(states: Sequence[CellState], now: float) -> float | None:
    """Estimate the rest of a sweep from the epochs that have run so far in it.

    Args:
        states: of all cells.
        now: on the clock of `time.monotonic`.

    Returns:
        Seconds; None before an epoch of this start has ended. Every waiting cell is taken to need
        per epoch what the running and finished ones needed, start included, and as many cells to
        run at once as now.
    """
    ran = [state for state in states if state.status in ("running", "done") and state.started]
    epochs = sum(state.epoch - state.first_epoch for state in ran)
    if epochs < 1:
        return None
    spent = sum(now - state.started for state in ran if state.status == "running")
    spent += sum(state.duration for state in ran if state.status == "done")
    open_epochs = sum(s.epochs - s.epoch for s in states if s.status in ("waiting", "running"))
    at_once = sum(state.status == "running" for state in states)
    return spent / epochs * open_epochs / max(1, at_once)


class LiveTable:
    """Shows the states of all cells while they change."""

    def __init__(self, states: Sequence[CellState], console: Console) -> None:
        """Choose what to show.

        Args:
            states: of all cells, changed from outside.
            console: a terminal gets a table that follows, anything else lines.
        """
        self.states, self.console = states, console
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self.told: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> LiveTable:
        """Begin to show."""
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was; the lines stay."""
        self.live.stop()

    def say(self, text: str) -> None:
        """Print one line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self) -> None:
        """Read how far the running cells are, and show it."""
        now = time.monotonic()
        running = [state for state in self.states if state.status == "running"]
        for state in running:
            state.read()
        if self.console.is_terminal:
            self.live.update(self._picture(now), refresh=True)
            return
        for state in running:
            when, epoch = self.told.setdefault(state.name, (state.started, state.epoch))
            if state.epoch > epoch and now - when >= SECONDS_BETWEEN_LINES:
                self.told[state.name] = now, state.epoch
                self.say(f"{state.name}: {_progress(state, now)}")

    def _picture(self, now: float) -> Group:
        table = Table(box=None, pad_edge=False)
        for title in ("cell", "state", "epoch", "validation", "left"):
            table.add_column(title, justify="right" if title in ("epoch", "left") else "left")
        shown, hidden = self._that_fit()
        for state in shown:
            score = "" if state.score is None else f"{state.score:.3f}"
            left = clock(state.seconds_left(now))
            epoch = f"{state.epoch}/{state.epochs}" if state.epoch else ""
            table.add_row(state.name, state.status, epoch, score, left)
        ended = sum(state.status in ENDED for state in self.states)
        left = clock(sweep_seconds_left(self.states, now))
        more = f", {hidden} more waiting or ended" if hidden else ""
        total = f"{ended} of {len(self.states)} cells ended{more}" + (f", {left} left" * bool(left))
        return Group(table, Text(total))

    def _that_fit(self) -> tuple[list[CellState], int]:
        room = max(3, self.console.height - 4)
        if len(self.states) <= room:
            return list(self.states), 0
        order = {"running": 0, "failed": 1, "waiting": 2, "done": 3, "kept": 4}
        chosen = sorted(self.states, key=lambda state: order[state.status])[:room]
        return [state for state in self.states if state in chosen], len(self.states) - room


def clock(seconds: float | None) -> str:
    """Write a duration as h:mm:ss or m:ss; nothing where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _progress(state: CellState, now: float) -> str:
    score = "" if state.score is None else f", {state.monitor} {state.score:.3f}"
    left = clock(state.seconds_left(now))
    return f"epoch {state.epoch}/{state.epochs}{score}" + (f", {left} left" if left else "")
