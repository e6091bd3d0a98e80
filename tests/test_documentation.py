"""The pages that are made from code hold all of it, and the site needs nothing from elsewhere."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from hideseek import __main__ as command_line
from hideseek.config import config_folder
from hideseek.sweep import verbs

ROOT = Path(__file__).parents[1]
CONF = config_folder()
FILES = sorted(CONF.rglob("*.yaml"))
LOADS = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\s\"'>]+)"
)


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, ModuleType]]:
    """Import the modules in docs/ as mkdocs does: with their folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield {name: importlib.import_module(name) for name in ("reference", "commands")}
        for name in ("reference", "commands", "hooks"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def configuration(pages: dict[str, ModuleType]) -> str:
    return str(pages["reference"].configuration(CONF, ROOT))


def keys(node: Any, prefix: str) -> Iterator[str]:
    """List the settings of a file by another way than the reference does."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from keys(value, f"{prefix}.{key}".lstrip("."))
    else:
        yield prefix


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(CONF).as_posix() for p in FILES])
def test_every_file_and_every_setting_is_in_the_reference(path: Path, configuration: str) -> None:
    inside = path.relative_to(CONF)
    assert f"| `{path.stem}` |" in configuration
    assert f"| `conf/{inside.as_posix()}` |" in configuration
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, Mapping) or inside.parts[:2] in (
        ("hydra", "help"),
        ("hydra", "job_logging"),
    ):
        return
    said = re.search(r"# @package (\S+)", path.read_text())
    group = "" if inside.parent == Path() else inside.parent.as_posix().replace("/", ".")
    package = said[1].replace("_global_", "") if said else group
    own = {key: value for key, value in content.items() if key != "defaults"}
    for key in keys(own, package):
        if key and key.rpartition(".")[2] not in ("_target_", "_partial_"):
            assert f"| `{key}` |" in configuration, key


def test_a_file_is_read_as_it_is_written(pages: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "conf/thing").mkdir(parents=True)
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool/parts.py").write_text(
        'class Part:\n    """A part."""\n\n    def __init__(self, size, colour):\n'
        '        """Build.\n\n        Args:\n            size: in pixels,\n'
        "                at least 1.\n"
        '            colour: not shown.\n        """\n'
    )
    file = tmp_path / "conf/thing/small.yaml"
    file.write_text(
        "defaults:\n  - base\n  - override /model: tiny\n"
        "_target_: tool.parts.Part\nsize: ${other.size}\n"
        "# Only one.\ncolour: 'a # b'   # red | blue\n"
        "deep:\n  list: [1, 2]\n  none:\nempty: {}\n"
    )
    choice = pages["reference"].read_choice(file, tmp_path / "conf", tmp_path)
    assert (choice.group, choice.name, choice.about) == ("thing", "small", "A part.")
    assert choice.builds_on == ("thing=base", "model=tiny")
    assert [(s.key, s.default, s.meaning) for s in choice.settings] == [
        ("thing.size", "${other.size}", "in pixels, at least 1."),
        ("thing.colour", "'a # b'", "Only one. red | blue"),
        ("thing.deep.list", "[1, 2]", ""),
        ("thing.deep.none", '""', ""),
        ("thing.empty", "{}", ""),
    ]
    page = pages["reference"].configuration(tmp_path / "conf", tmp_path)
    assert "| `thing.colour` | `'a # b'` | Only one. red &#124; blue |" in page


def test_cells_of_a_table_cannot_break_out(pages: dict[str, ModuleType]) -> None:
    cell = pages["reference"]._cell
    assert cell("a|b <script> x_y `c|d <e>`") == "a&#124;b &lt;script> x\\_y `c|d <e>`"


def test_every_verb_has_its_help(pages: dict[str, ModuleType]) -> None:
    page = pages["commands"].commands(CONF)
    known = {*command_line.VERBS, *verbs.FOLDER_VERBS, *verbs.LONE_VERBS}
    parts = dict(re.findall(r"^## `hideseek (\w+)`[^\n]*\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert set(parts) == known
    for verb, text in parts.items():
        assert f"hideseek {verb}" in text, verb
        assert "$CONFIG" not in text and "$APP" not in text and "as they stand" not in text, verb
    assert "hideseek audit paper" in parts["audit"] and "model=external" in parts["audit"]
    indented = [line for text in parts.values() for line in text.splitlines() if line]
    assert all(line.startswith("    ") for line in indented)


def test_links_into_the_checkout_become_pages_or_text(pages: dict[str, ModuleType]) -> None:
    pytest.importorskip("mkdocs")
    hooks = importlib.import_module("hooks")

    def shown(markdown: str, page: str) -> str:
        file = type("File", (), {"src_uri": page})
        return str(hooks.on_page_markdown(markdown, type("Page", (), {"file": file}), None, None))

    slurm = "conf/hydra/launcher/slurm.yaml"
    assert shown(f"[a](../{slurm}) b", "sweep.md") == (
        "[a](configuration.md#hydra-launcher-slurm) b"
    )
    assert shown("[a](../conf)", "faq.md") == shown("[a](../conf/)", "faq.md")
    assert shown("[a](../../conf)", "notebooks/x.md") == "[a](../configuration.md)"
    assert shown("[a `b`](../pyproject.toml)", "faq.md") == "a `b`"
    for kept in ("[a](../no/such.file)", "[a](faq.md)", "![a](../docs/x.png)"):
        assert shown(kept, "index.md") == kept


def test_notebooks_are_found_or_leave_no_trace(
    pages: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mkdocs")
    hooks = importlib.import_module("hooks")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)

    def nav() -> list[Any]:
        config = type("Config", (), {"nav": [{"Home": "index.md"}, {"Notebooks": []}]})
        return list(hooks.on_config(config).nav)

    assert nav() == [{"Home": "index.md"}]
    folder = tmp_path / "docs/notebooks"
    folder.mkdir(parents=True)
    (folder / "1_a.md").write_text("# One\n")
    (folder / "2_b.html").write_text("<title>Two</title>")
    assert nav()[1] == {"Notebooks": ["notebooks/index.md", "notebooks/1_a.md"]}
    listed = hooks.notebook_list()
    assert "- [One](1_a.md)" in listed and "- [Two](2_b.html)" in listed


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr[-3000:]
    pages = sorted(tmp_path.rglob("*.html"))
    names = {page.name for page in pages}
    assert {"index.html", "configuration.html", "commands.html", "measurements.html"} <= names
    for page in pages:
        assert LOADS.findall(page.read_text()) == [], page
    assert not list(tmp_path.rglob("*.py"))
    assert "hydra.sweeper.params.roi" in "".join(p.read_text() for p in tmp_path.glob("search/*"))
