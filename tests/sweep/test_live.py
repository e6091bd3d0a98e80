from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from hideseek.sweep import live
from hideseek.sweep.live import CellState, LiveTable, clock, sweep_seconds_left

MONITOR = "val/balanced_accuracy"


def state(folder: Path, name: str = "tiny-original-s0", epochs: int = 10, **given) -> CellState:
    (folder / name).mkdir(exist_ok=True)
    return CellState(name, folder / name, epochs, MONITOR, **given)


def history(of: CellState, *scores: str) -> None:
    rows = [f"{epoch},1.0,{score}" for epoch, score in enumerate(scores)]
    (of.folder / "history.csv").write_text("\n".join([f"epoch,seconds,{MONITOR}", *rows]) + "\n")


def test_epoch_and_score_come_from_the_history(tmp_path):
    cell = state(tmp_path)
    cell.read()
    assert (cell.epoch, cell.score) == (0, None)
    history(cell, "0.5", "0.75")
    cell.read()
    assert (cell.epoch, cell.score) == (2, 0.75)
    history(cell, "0.5", "")
    cell.read()
    assert (cell.epoch, cell.score) == (2, None)
    (cell.folder / "history.csv").write_bytes(b"\xff\xfe\x00")
    cell.read()


def test_the_time_left_counts_the_epochs_of_this_start(tmp_path):
    cell = state(tmp_path)
    history(cell, *["0.5"] * 4)
    cell.start()
    assert cell.seconds_left(cell.started + 5) is None
    history(cell, *["0.5"] * 6)
    cell.read()
    # Two epochs in 6 s, four more to go.
    assert cell.seconds_left(cell.started + 6) == pytest.approx(12)
    cell.end(None)
    assert cell.seconds_left(cell.started + 6) is None


def test_the_time_left_of_a_sweep(tmp_path):
    done = state(tmp_path, "a", status="done", started=1.0, duration=20.0, epoch=10)
    runs = state(tmp_path, "b", status="running", started=91.0, epoch=5)
    waits = [state(tmp_path, name) for name in "cd"]
    kept = state(tmp_path, "e", status="kept", epoch=10)
    more = state(tmp_path, "f", status="running", started=91.0)
    # 15 epochs took 20 + 10 + 10 s; 5 + 20 + 10 epochs are open, two at once.
    left = sweep_seconds_left([done, runs, *waits, kept, more], now=101.0)
    assert left == pytest.approx(40 / 15 * 35 / 2)
    assert sweep_seconds_left(waits, now=101.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.2, "0:00"), (61, "1:01"), (3723, "1:02:03")]
)
def test_durations(seconds, text):
    assert clock(seconds) == text


def test_lines_where_there_is_no_terminal(tmp_path, monkeypatch):
    output = io.StringIO()
    cell = state(tmp_path)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LINES", 0.0)
    with LiveTable([cell], Console(file=output, width=80)) as table:
        cell.start()
        table.update()
        history(cell, "0.5")
        table.update()
        table.update()
        table.say("[red]done")
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"tiny-original-s0: epoch 1/10, {MONITOR} 0.500, 0:")
    assert lines[1] == "[red]done"


def test_few_lines_for_fast_epochs(tmp_path):
    output = io.StringIO()
    cell = state(tmp_path)
    with LiveTable([cell], Console(file=output, width=80)) as table:
        cell.start()
        for epoch in range(1, 6):
            history(cell, *["0.5"] * epoch)
            table.update()
    assert output.getvalue() == ""


def test_a_table_on_a_terminal(tmp_path):
    output = io.StringIO()
    cells = [state(tmp_path, f"cell{number}") for number in range(40)]
    cells[30].status, cells[30].started = "running", time.monotonic()
    console = Console(file=output, force_terminal=True, width=80, height=12)
    with LiveTable(cells, console) as table:
        history(cells[30], "0.25")
        table.update()
    shown = output.getvalue()
    assert "cell30" in shown
    assert "0.250" in shown
    assert "1/10" in shown
    assert "0 of 40 cells ended, 32 more" in shown
