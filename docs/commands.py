"""The command-line reference in Markdown: what each verb prints when it is asked for help."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import yaml  # type: ignore[import-untyped]

INTRODUCTION = """# Command-line reference

Made from what the commands print when this site is built. `hideseek VERB --help` prints it;
for `train`, `prepare`, `check` and `audit model=...` it adds the choices and the settings, which
the [configuration reference](configuration.md) explains.

`python train.py` in a checkout is `hideseek train`.
"""


def commands(conf: Path) -> str:
    """Write the page.

    Args:
        conf: the configuration tree, whose `hydra/help` files hold the help of the Hydra verbs.

    Returns:
        Markdown with a section for each verb.
    """
    from hideseek import __main__ as command_line
    from hideseek.sweep import verbs

    parts = [INTRODUCTION, _code(command_line.USAGE)]
    texts = {verb: [hydra_help(conf, verb)] for verb in command_line.VERBS}
    for verb in (*verbs.FOLDER_VERBS, *verbs.LONE_VERBS):
        texts.setdefault(verb, []).insert(0, usage(verb))
    for verb, found in texts.items():
        parts += [f"## `hideseek {verb}` {{#{verb}}}\n", *map(_code, found)]
    return "\n".join(parts)


def usage(verb: str) -> str:
    """Catch what a verb without Hydra prints for `--help`."""
    from hideseek.sweep import verbs

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        verbs.run(verb, ["--help"])
    return printed.getvalue()


def hydra_help(conf: Path, verb: str) -> str:
    """Read the help of a Hydra verb, without the choices and settings that Hydra fills in."""
    template = yaml.safe_load((conf / "hydra" / "help" / f"{verb}.yaml").read_text())["template"]
    paragraphs = template.split("\n\n")
    filled = [at for at, text in enumerate(paragraphs) if text.strip().startswith("$")]
    dropped = {*filled, *(at - 1 for at in filled)}
    return "\n\n".join(text for at, text in enumerate(paragraphs) if at not in dropped)


def _code(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").splitlines()) + "\n"
