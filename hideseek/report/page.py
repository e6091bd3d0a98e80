"""Chapters as one HTML file that needs nothing else: no network, no server, no other file.

Names of models, sources and files come from whoever made the data. Three things keep them text:
the templates escape everything, the only script and style that may run are named by their hash in
the Content-Security-Policy, and drawings stand in <img> as data: addresses, where no script runs,
nothing is loaded and ids of one drawing cannot meet those of another.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache

import jinja2
from markupsafe import Markup

from hideseek.report.chapter import Chapter
from hideseek.report.page_parts import choices, page_parts

STATUS = {0: ("✓", "reads the lungs"), 3: ("✗", "shortcut"), 4: ("?", "cannot be told")}
"""A sign and words for the audit's exit status: never told by colour alone."""


def build_page(chapters: Sequence[Chapter], title: str, facts: Sequence[str] = ()) -> str:
    """Write a page.

    Args:
        chapters: in order.
        title: of the page; plain text.
        facts: short lines below it.

    Returns:
        HTML; links lead to the files that `hideseek.report.export.export` writes beside the page.
    """
    environment = _environment()
    style, script = (_file(environment, f"page.{ending}") for ending in ("css", "js"))
    parts = page_parts(chapters)
    return environment.get_template("page.html").render(
        title=title,
        facts=facts,
        parts=parts,
        models=choices(parts, "model"),
        representations=choices(parts, "representation"),
        status=STATUS,
        style=Markup(style),
        script=Markup(script),
        policy=content_security_policy(style, script),
    )


def content_security_policy(style: str, script: str) -> str:
    """Name what the page may load and run: its own style, its own script, and pictures in it."""
    return "; ".join((
        "default-src 'none'", "img-src data:", f"style-src {_hash(style)}",
        f"script-src {_hash(script)}", "base-uri 'none'", "form-action 'none'",
        "require-trusted-types-for 'script'",
    ))  # fmt: skip


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("hideseek.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _file(environment: jinja2.Environment, name: str) -> str:
    if environment.loader is None:
        raise RuntimeError("the templates have no loader")
    return environment.loader.get_source(environment, name)[0]
