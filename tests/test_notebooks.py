from __future__ import annotations

import importlib.util
import re
import resource
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
COPIES = FOLDER.parent / "docs" / "notebooks"
SECONDS = 120
"""Of processor time for one notebook: what a busy core takes, whatever else the machine does."""

FACTS = {
    "1_representations": (
        "isolated + removed = original: True",
        "exact masks tell the class: False",
        "size or failure of the masks tells the class: True",
    ),
    "2_one_cell": ("accuracy above 0.9: True", "score in done.json", "predictions.csv"),
    "3_audit_a_sweep": ("verdict: outside_marker", "exit status: 3", "silhouette       down"),
    "4_your_network": ("honest reads: lungs", "marked reads: outside", "exit status 3"),
    "5_add_representation": (
        "hidden pixels change nothing: True",
        "the border tells the class of marker: True",
        "the border tells the class of opacity: False",
    ),
    "6_add_source": (
        "not identifiable: covid19 and normal by source",
        "ALARM mask quality",
        "kinds of findings: duplicate,",
        "no_diagnosis",
        "truncated",
    ),
}
"""What each text says came out, word for word."""

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the notebooks are not here")


@pytest.fixture(scope="module")
def render() -> ModuleType:
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("render", FOLDER / "render.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(path: Path) -> list[tuple[str, str]]:
    jupytext = pytest.importorskip("jupytext")
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def test_every_notebook_has_its_other_half_and_facts_to_check():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(FACTS)
    assert {path.stem for path in FOLDER.glob("[0-9]_*.py")} == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_halves_are_in_step(name: str):
    halves = [cells_of(FOLDER / f"{name}{suffix}") for suffix in (".py", ".ipynb")]
    assert halves[0] == halves[1], "run: jupytext --sync notebooks/[0-9]_*.py"


@pytest.mark.parametrize("name", FACTS)
def test_no_output_is_kept(name: str):
    nbformat = pytest.importorskip("nbformat")
    notebook: Any = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.source
    assert set(notebook.metadata) <= {"kernelspec", "jupytext"}


@pytest.mark.parametrize("name", FACTS)
def test_text_opens_with_a_question_and_ends_with_conclusions(name: str):
    cells = cells_of(FOLDER / f"{name}.py")
    first, last = cells[0][1], cells[-1][1]
    assert first.startswith(f"# {name[0]}. ") and "**Question.**" in first
    assert last.index("## What to conclude") < last.index("## What not to conclude")


@pytest.mark.parametrize("name", FACTS)
def test_copy_is_of_this_notebook(name: str, render: ModuleType):
    copy = (COPIES / f"{name}.md").read_text()
    for kind, source in cells_of(FOLDER / f"{name}.py"):
        shown = f"```python\n{source}\n```" if kind == "code" else render.linked(source)
        assert shown in copy, "run: python notebooks/render.py"
    for fact in FACTS[name]:
        assert fact in copy
    assert render.local_words(copy) == []
    assert not re.search(r"/(tmp|home|root|Users|work)/|\d{4}-\d\d-\d\d", copy)
    drawn = set(re.findall(rf"\(({name}-\d+\.png)\)", copy))
    assert drawn == {path.name for path in COPIES.glob(f"{name}-*.png")}


def test_copies_are_small():
    assert sum(path.stat().st_size for path in COPIES.iterdir()) < 1.5e6


def test_a_copy_that_names_the_machine_is_refused(render: ModuleType):
    assert render.local_words(f"saved in {Path.home()}/results") == [str(Path.home())]
    assert render.local_words("saved in multirun/first") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FACTS)
def test_notebook_runs(
    name: str, render: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started_in, scratch = tmp_path / "here", tmp_path / "scratch"
    started_in.mkdir()
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("HIDESEEK_CACHE", raising=False)
    began, used = time.monotonic(), _processor_seconds()
    said = render.text_of(render.execute(FOLDER / f"{name}.py", started_in))
    used = _processor_seconds() - used
    print(f"{name}: {time.monotonic() - began:.0f} s, of the processor {used:.0f} s")
    for fact in FACTS[name]:
        assert fact in said
    assert used < SECONDS
    assert list(started_in.iterdir()) == []
    assert list(scratch.glob("hideseek-*")) == []


def _processor_seconds() -> float:
    """Of all children that have ended, kernels and what they started."""
    assert sys.platform != "win32"
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
