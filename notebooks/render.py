"""Execute the notebooks and write copies with their outputs to docs/notebooks/.

    python notebooks/render.py [NAME ...]

NAME.py -> kernel in an empty folder -> docs/notebooks/NAME.md and NAME-1.png, NAME-2.png ...

Nothing of the machine goes into a copy: dates are taken out, and a path or host name stops it.
"""

from __future__ import annotations

import base64
import io
import re
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / "docs" / "notebooks"
COLOURS = 64
"""Of a picture's palette; more are not seen in grey radiographs and plain plots."""

LARGEST = (720, 1000)
"""Pixels of a picture, width and height."""

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STAMP = re.compile(r"^\[\d{4}-\d\d-\d\d [\d:,]+\] ", re.MULTILINE)
FIGURE = re.compile(r"<Figure size .*>")


def notebooks() -> list[Path]:
    """List the text halves of the notebooks, in order."""
    return sorted(HERE.glob("[0-9]_*.py"))


def execute(path: Path, folder: Path, timeout: int = 600) -> NotebookNode:
    """Run a notebook in a kernel of this Python.

    Args:
        path: of NAME.py, cells in percent format.
        folder: where the kernel starts.
        timeout: seconds that one cell may take.

    Returns:
        The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = jupytext.read(path)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=resources)
    # A kernel that is killed, as by default after some seconds, leaves its temporary folder behind.
    client.create_kernel_manager().shutdown_wait_time = 60.0
    executed: NotebookNode = client.execute()
    return executed


def text_of(notebook: NotebookNode) -> str:
    """Join what the cells of an executed notebook say."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [each for cell in cells for each in _joined(cell.outputs)]
    return "\n".join(each for each in shown if isinstance(each, str))


def to_markdown(notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Lay an executed notebook out as Markdown.

    Args:
        notebook: executed.
        name: of the notebook, without suffix.

    Returns:
        The text, and pictures by file name.
    """
    source = f"[notebooks/{name}.ipynb](../../notebooks/{name}.ipynb)"
    parts = [f"<!-- Made by notebooks/render.py; edit notebooks/{name}.py. -->", ""]
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts += [linked(cell.source), ""]
            continue
        parts += ["```python", cell.source, "```", ""]
        for shown in _joined(cell.outputs):
            if isinstance(shown, bytes):
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = _small(shown)
                parts += [f"![what this cell draws]({file})", ""]
            else:
                parts += ["```text", shown, "```", ""]
    parts += ["---", "", f"*Executed copy of {source}.*", ""]
    return "\n".join(parts), pictures


def linked(markdown: str) -> str:
    """Let links to other notebooks lead to their copies."""
    return re.sub(r"\((\d_\w+)\.ipynb\)", r"(\1.md)", markdown)


def local_words(text: str) -> list[str]:
    """Find what tells on the machine: folders of the user, of the checkout, or the host's name."""
    places = {str(Path.home()), str(HERE.parent), tempfile.gettempdir(), sys.prefix}
    found = [place for place in sorted(places) if re.search(re.escape(place) + r"\b", text)]
    host = socket.gethostname()
    return found + [host] * bool(re.search(rf"\b{re.escape(host)}\b", text))


def _joined(outputs: list[Any]) -> list[str | bytes]:
    """Give the texts and pictures of a cell; what it printed in several pieces is one text."""
    shown: list[str | bytes] = []
    for output in outputs:
        picture = output.get("data", {}).get("image/png")
        if picture is not None:
            shown.append(base64.b64decode(picture))
        elif shown and isinstance(shown[-1], str):
            shown[-1] += _said(output)
        else:
            shown.append(_said(output))
    texts = [each.strip("\n") if isinstance(each, str) else each for each in shown]
    return [each for each in texts if each]


def _said(output: Any) -> str:  # noqa: ANN401
    if output.output_type == "stream":
        text = str(output.text) if output.name == "stdout" else ""
    else:
        text = str(output.get("data", {}).get("text/plain", ""))
    return STAMP.sub("", ANSI.sub("", FIGURE.sub("", text)))


def _small(picture: bytes) -> bytes:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.thumbnail(LARGEST)
    image = image.quantize(COLOURS)
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def main(names: list[str]) -> None:
    """Render the named notebooks, or all."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for path in notebooks():
        if names and path.stem not in names:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        text, pictures = to_markdown(notebook, path.stem)
        if told := [line for line in text.splitlines() if local_words(line)]:
            sys.exit(f"{path.name}: its output tells on this machine, as in: {told[0]}")
        for old in TARGET.glob(f"{path.stem}-*.png"):
            old.unlink()
        for file, content in pictures.items():
            (TARGET / file).write_bytes(content)
        (TARGET / f"{path.stem}.md").write_text(text)
        size = sum(map(len, pictures.values())) / 1024
        print(f"{path.stem}: {time.monotonic() - began:.0f} s, pictures {size:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
