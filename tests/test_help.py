"""The help of every verb has examples, and every example can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from hideseek import show
from hideseek.__main__ import VERBS
from hideseek.audit.selftest import read_options
from hideseek.completion import SHELLS
from hideseek.config import config_folder, register
from hideseek.errors import UserError
from hideseek.sweep.verbs import FOLDER_VERBS, LONE_VERBS, USAGE
from hideseek.vocabulary import usage

CONF = config_folder()
EVERY = sorted({*VERBS, *FOLDER_VERBS, *LONE_VERBS})


def examples(verb: str) -> list[list[str]]:
    """Take the words after `hideseek VERB` from the lines that stand below "Examples"."""
    found, heading = [], None
    for line in re.sub(r"\\\n *", "", usage(CONF, verb)).splitlines():
        indented = len(line) - len(line.lstrip())
        if line.strip() == "Examples":
            heading = indented
        elif line.strip() and heading is not None:
            heading = heading if indented > heading else None
        # Words are one blank apart; what a line does comes after more.
        match = re.search(rf"(?<![\w`])hideseek {verb}((?: [^\s)>]+)*)", line)
        if match and heading is not None:
            found.append(shlex.split(match[1]))
    return found


def test_examples_are_found():
    assert ["multirun/mine"] in examples("sync")
    assert ["-m", "model=alexnet,vgg11", "roi=original,lungs_removed", "seed=0,1"] in examples(
        "train"
    )
    assert ["bash"] in examples("completion") and ["fish"] in examples("completion")
    assert [] in examples("doctor")
    assert len(examples("audit")) >= 6


@pytest.mark.parametrize("verb", EVERY)
def test_every_verb_has_examples(verb):
    assert examples(verb)


def composes(verb: str, words: list[str]) -> None:
    """Compose as Hydra does; of a sweep, its first cell."""
    register()
    parser, single = OverridesParser.create(), []
    for word in show.overrides(words) if verb == "show" else words:
        if word == "-m":
            continue
        override = parser.parse_override(word)
        first = next(override.sweep_string_iterator()) if override.is_sweep_override() else None
        single.append(word if first is None else f"{override.get_key_element()}={first}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        compose(verb, single)


@pytest.mark.parametrize(
    ("verb", "words"), [(verb, words) for verb in EVERY for words in examples(verb)]
)
def test_every_example_can_be_typed(verb, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if verb in VERBS and (verb not in FOLDER_VERBS or "=" in words[0]):
        composes(verb, words)
    elif verb in FOLDER_VERBS:
        # Words are read before the folder, which is not there.
        with pytest.raises(UserError) as caught:
            FOLDER_VERBS[verb](Path(words[0]), words[1:])
        assert words[0] in str(caught.value)
    elif verb == "selftest":
        read_options(words)
    else:
        assert words == [] if verb == "doctor" else words[0] in SHELLS


def test_a_wrong_example_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for verb, words in (("train", ["model=resnet"]), ("show", ["imag=x"])):
        with pytest.raises(Exception, match=r"resnet|imag"):
            composes(verb, words)
    for verb in set(FOLDER_VERBS) - {"rerun"}:
        with pytest.raises(UserError, match="colour"):
            FOLDER_VERBS[verb](Path("multirun/mine"), ["colour=red"])
    assert set(USAGE) == set(FOLDER_VERBS)
