"""Verbs about a sweep that is there: they take its path and a few settings, and need no Hydra."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hideseek.errors import UserError


def _rerun(path: Path, words: Sequence[str]) -> None:
    from hideseek.sweep.rerun import rerun

    rerun(path, words)


def _bundle(path: Path, words: Sequence[str]) -> None:
    from hideseek.sweep.bundle import bundle, read_options

    bundle(path, *read_options(words))


def _sync(path: Path, words: Sequence[str]) -> None:
    from hideseek.sweep.sync import sync

    settings(words, {})
    sync(path)


def _dashboard(path: Path, words: Sequence[str]) -> None:
    from hideseek.report.dashboard import dashboard

    given = settings(words, {"entity": None, "project": "hideseek"})
    dashboard(path, given["entity"], str(given["project"]))


def _audit(path: Path, words: Sequence[str]) -> None:
    if str(path) == "paper":
        from rich.console import Console

        from hideseek.audit.paper import paper_text
        from hideseek.report.tables import WIDTH

        settings(words, {})
        Console(width=None if sys.stdout.isatty() else WIDTH).print(paper_text())
        return
    from hideseek.audit.command import audit

    sys.exit(audit(path, words))


def _report(path: Path, words: Sequence[str]) -> None:
    from hideseek.report.command import report

    settings(words, {})
    sys.exit(report(path))


def _selftest(words: Sequence[str]) -> None:
    from hideseek.audit.selftest import selftest

    sys.exit(selftest(words))


def _doctor(words: Sequence[str]) -> None:
    from hideseek.doctor import doctor

    sys.exit(doctor(words))


def _completion(words: Sequence[str]) -> None:
    from hideseek.completion import completion

    sys.exit(completion(words))


FOLDER_VERBS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "audit": _audit,
    "report": _report,
    "rerun": _rerun,
    "bundle": _bundle,
    "sync": _sync,
    "dashboard": _dashboard,
}
"""Verbs about a sweep that is there; they take its path and a few settings."""

LONE_VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "selftest": _selftest,
    "doctor": _doctor,
    "completion": _completion,
}
"""Verbs that need no sweep; they print their own usage."""

USAGE = {
    "audit": """hideseek audit FOLDER [parts=all] [margin=0.02] [resamples=10000] [least=0.05]
hideseek audit model=external model.net.target=PACKAGE.MODULE:FUNCTION weights=FILE data=...
hideseek audit paper

  FOLDER      of a sweep with controls, for example multirun/NAME after experiment=controls
  parts       further parts: all, or some of sources,probe,attribution,matrix (they take longer)
  margin      the largest difference in accuracy that is negligible; set it before you look
  resamples   of patients, for the intervals
  least       AUC above chance that counts as a signal
  paper       which differences in the paper's Tables 3-7 can survive at all

  Examples

    hideseek audit multirun/mine
    hideseek audit multirun/mine parts=sources,probe margin=0.05
    hideseek audit model=alexnet weights=FILE data.manifest=FILE.csv data.root=FOLDER

  Exit status: 0 the lungs are read, 3 a shortcut, 4 no signal or cannot be told""",
    "report": """hideseek report FOLDER

  FOLDER      of a sweep, for example multirun/NAME; it is audited first if it was not yet

  Examples

    hideseek report multirun/mine

  Writes report/index.html into it, one file that opens without a network, and its tables (CSV,
  Markdown, LaTeX) and pictures (PNG, SVG) in report/tables and report/figures, anew each time""",
    "rerun": """hideseek rerun PATH [sweep=NAME] [allow_other_data=true] [overrides]

  PATH               a sweep.yaml, the folder of a sweep, or a bundle of one
  sweep=NAME         by default the original's with -rerun; the same name again continues it
  allow_other_data   run although the images are not the original's
  overrides          of every cell, such as data.root=FOLDER trainer=cpu hydra/launcher=slurm

  Examples

    hideseek rerun mine.zip data.manifest=FILE.csv data.root=FOLDER
    hideseek rerun multirun/mine/sweep.yaml sweep=again trainer=cpu""",
    "bundle": """hideseek bundle FOLDER [into=FILE.zip] [checkpoints=true]

  FOLDER        of a sweep, for example multirun/NAME
  into          by default NAME.zip in the current folder
  checkpoints   add the weights of every cell; they hold the path of the cell's folder

  Examples

    hideseek bundle multirun/mine
    hideseek bundle multirun/mine into=FOLDER/mine.zip checkpoints=true""",
    "sync": """hideseek sync FOLDER

  FOLDER        of a sweep, for example multirun/NAME; needs a W&B key

  Examples

    hideseek sync multirun/mine""",
    "dashboard": """hideseek dashboard FOLDER [entity=TEAM] [project=NAME]

  FOLDER        of a sweep, for example multirun/NAME
  entity        W&B user or team; by default yours
  project       by default hideseek

  Examples

    hideseek dashboard multirun/mine
    hideseek dashboard multirun/mine entity=TEAM project=xray""",
}


def run(verb: str, words: Sequence[str]) -> None:
    """Run a verb.

    Args:
        verb: one of `FOLDER_VERBS` or `LONE_VERBS`.
        words: of the command line, after the verb.
    """
    alone = verb in LONE_VERBS
    if not alone and (not words or words[0] in ("-h", "--help")):
        print(USAGE[verb])
        sys.exit(0 if words else 2)
    try:
        if alone:
            LONE_VERBS[verb](words)
        else:
            FOLDER_VERBS[verb](Path(words[0]), words[1:])
    except UserError as error:
        print(f"hideseek {verb}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"hideseek {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


def settings(words: Sequence[str], known: Mapping[str, str | None]) -> dict[str, str | None]:
    """Read KEY=VALUE words.

    Args:
        words: of the command line.
        known: keys and their defaults.

    Returns:
        A value for each key.

    Raises:
        UserError: another key.
    """
    given = dict(known)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise UserError(f"'{word}' is unknown; known are {', '.join(known) or 'no settings'}")
        given[key] = value
    return given
