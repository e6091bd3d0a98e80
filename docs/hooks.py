"""What mkdocs does beyond Markdown: pages made from code, notebooks, links to the checkout."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from commands import commands  # mkdocs puts this folder on the path
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import configuration

ROOT = Path(__file__).parents[1]
NOTEBOOKS = "Notebooks"
INCLUDED = {"measurements.md": "benchmarks/RESULTS.md", "changes.md": "CHANGELOG.md"}
"""Pages that are files of the checkout."""

ON_THIS_SITE = {
    "conf": "configuration.md",
    "conf/hydra/launcher/slurm.yaml": "configuration.md#hydra-launcher-slurm",
    "hideseek/__main__.py": "commands.md",
    "README.md": "index.md",
    **{file: page for page, file in INCLUDED.items()},
}
"""Files of the checkout that a page of the site shows, as links know them."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)\s#]+?)/?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rendered notebooks where the navigation has a place for them, or take that away."""
    pages = ["notebooks/index.md", *(f"notebooks/{path.name}" for path in _notebooks(".md"))]
    if len(pages) == 1 and not _notebooks(".html"):
        pages = []
    nav = [
        {NOTEBOOKS: pages} if isinstance(entry, dict) and NOTEBOOKS in entry else entry
        for entry in config.nav or ()
    ]
    config.nav = [entry for entry in nav if entry != {NOTEBOOKS: []}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that nobody writes by hand."""
    made = {
        "configuration.md": configuration(ROOT / "conf", ROOT),
        "commands.md": commands(ROOT / "conf"),
        **{page: (ROOT / file).read_text() for page, file in INCLUDED.items()},
    }
    if _notebooks(".md") or _notebooks(".html"):
        made["notebooks/index.md"] = notebook_list()
    for page, content in made.items():
        if files.get_file_from_path(page) is None:
            files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the checkout to the pages that show them, or into plain text."""
    return LINK.sub(lambda found: _on_this_site(found, page.file.src_uri), markdown)


def _on_this_site(found: re.Match[str], page: str) -> str:
    text, link = found.groups()
    inside = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    if inside in ON_THIS_SITE:
        return f"[{text}]({'../' * page.count('/')}{ON_THIS_SITE[inside]})"
    # What is in neither place stays a link, so that a strict build stops at it.
    return text if not inside.startswith("docs/") and (ROOT / inside).exists() else found[0]


def notebook_list() -> str:
    """List the rendered notebooks by their first heading."""
    lines = ["# Notebooks\n", "Each is a script in `notebooks/`, run and rendered.\n"]
    for path in sorted((*_notebooks(".md"), *_notebooks(".html"))):
        pattern = r"^# (.+)$" if path.suffix == ".md" else r"<title>(.+?)</title>"
        found = re.search(pattern, path.read_text(), re.MULTILINE)
        lines.append(f"- [{found[1] if found else path.stem}]({path.name})")
    return "\n".join(lines) + "\n"


def _notebooks(suffix: str) -> list[Path]:
    found = sorted((ROOT / "docs" / "notebooks").glob(f"*{suffix}"))
    return [path for path in found if path.stem != "index"]
