"""The command `hideseek VERB [overrides]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

# Before anything imports them: no prompt, no advertisement, no network at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
os.environ.setdefault("HYDRA_FULL_ERROR", "0")

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from hideseek import __version__, show
from hideseek.config import config_folder, register
from hideseek.errors import UserError
from hideseek.sweep import verbs
from hideseek.sweep.process import die_with_parent

USAGE = f"""hideseek {__version__}: does a chest X-ray classifier read the lungs, or something else?

  hideseek prepare  [overrides]   raw folders or a manifest to lung masks and cache
  hideseek check    [overrides]   what the labels give away before any training
  hideseek train    [overrides]   train one cell; with -m, or an experiment that says so, a sweep
  hideseek show roi [overrides]   any image in all representations, as a picture

  hideseek audit     FOLDER       what the networks of a sweep read, with error bars
  hideseek audit     model=...    what a finished network reads, without any training
  hideseek report    FOLDER       what the audit found as one HTML page, with tables and figures
  hideseek selftest  [--quick]    how often the audit is wrong, on planted truth
  hideseek rerun     PATH         the cells of a sweep.yaml again, compared with the original
  hideseek bundle    FOLDER       a sweep as one file, without images
  hideseek sync      FOLDER       upload to W&B what a sweep logged offline
  hideseek dashboard FOLDER       a W&B report of model by representation

  hideseek doctor                 what works on this machine, and what is missing for what
  hideseek completion bash        completion for bash, zsh or fish

hideseek VERB --help shows the choices. For research, not for diagnosis."""


def _train(config: DictConfig) -> float:
    from hideseek.train import train

    return train(config)


def _prepare(config: DictConfig) -> None:
    from hideseek.prepare import prepare

    prepare(config)


def _check(config: DictConfig) -> None:
    from hideseek.prepare import check

    check(config)


def _audit(config: DictConfig) -> None:
    from hideseek.audit.frozen import frozen

    sys.exit(frozen(config))


def _show(config: DictConfig) -> None:
    show.show(config)


def _misconfigured() -> type[Exception]:
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    return MisconfigurationException


VERBS: dict[str, Callable[[DictConfig], object]] = {
    "train": _train,
    "prepare": _prepare,
    "check": _check,
    "audit": _audit,
    "show": _show,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb.

    Args:
        arguments: a verb to put before the command line's overrides (`train.py` gives "train"), or
            None where the verb is the command line's first word.
    """
    die_with_parent()
    command_line = list(sys.argv)
    given = [*(arguments or ()), *command_line[1:]]
    about_a_network = given[:1] == ["audit"] and any("=" in word for word in given[1:2])
    simple = {*verbs.FOLDER_VERBS, *verbs.LONE_VERBS}
    if given and given[0] in simple and not about_a_network:
        verbs.run(given[0], given[1:])
        return
    if not given or given[0] not in VERBS:
        asked = bool(given) and given[0] in ("-h", "--help", "--version")
        print(USAGE if not given or asked else f"unknown verb '{given[0]}'\n\n{USAGE}")
        sys.exit(0 if asked else 2)
    verb = given[0]
    register()

    def task(config: DictConfig) -> object:
        # Lightning starts the other ranks of a cell from sys.argv, verb included.
        sys.argv = command_line
        try:
            return VERBS[verb](config)
        except (UserError, InstantiationException) as error:
            # Hydra wraps what a constructor raises.
            mistake = error if isinstance(error, UserError) else error.__cause__
            if not isinstance(mistake, UserError | _misconfigured()):
                raise
            print(f"hideseek {verb}: {mistake}", file=sys.stderr)
            sys.exit(2)

    task.__name__ = verb
    words = show.overrides(given[1:]) if verb == "show" else given[1:]
    sys.argv = [command_line[0], *words]
    run = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=verb)(task)
    try:
        run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(f"hideseek {verb}: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
