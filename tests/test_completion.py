"""The scripts are run by the shells they are for; what is offered is held against conf/ itself."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from hideseek.completion import SHELLS, completion, script
from hideseek.config import config_folder
from hideseek.errors import UserError
from hideseek.sweep.verbs import FOLDER_VERBS, LONE_VERBS
from hideseek.vocabulary import LONE_FILES, SAFE, hydra_settings, usage, usage_words, vocabulary

CONF = config_folder()
WORDS = vocabulary(CONF)


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a sweep, a manifest and a file whose name has a space."""
    (tmp_path / "multirun" / "mine").mkdir(parents=True)
    for name in ("images.csv", "two words.csv"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What is offered.


def test_every_verb_is_known():
    verbs = {path.stem for path in CONF.glob("*.yaml")} | {*FOLDER_VERBS} | {*LONE_VERBS}
    assert set(WORDS) == verbs
    assert set(LONE_FILES) == set(LONE_VERBS)
    for verb in verbs:
        assert f"hideseek {verb}" in usage(CONF, verb)


@pytest.mark.parametrize("group", ["model", "roi", "data", "experiment", "trainer", "logger"])
def test_every_choice_of_a_group_is_offered(group):
    there = {f"{group}={path.stem}" for path in (CONF / group).glob("*.yaml")}
    offered = {word for word in WORDS["train"].values if word.startswith(f"{group}=")}
    assert offered == there
    assert f"{group}=" in WORDS["train"].plain


def test_a_new_file_appears_by_itself(tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "model" / "brand_new.yaml").write_text("depth: 3\nkind: one  # one | two (slow)\n")
    words = vocabulary(conf)["train"]
    assert "model=brand_new" in words.values
    assert {"model.depth=", "model.kind="} <= set(words.dotted)
    assert {"model.kind=one", "model.kind=two"} <= set(words.values)


def test_verbs_are_offered_what_they_take():
    assert {"data=", "data."} <= set(WORDS["prepare"].plain)
    assert not {"model=", "roi=", "trainer="} & set(WORDS["prepare"].plain)
    assert "data.manifest=" in WORDS["check"].dotted  # from prepare.yaml, which it builds on
    assert {"model=", "data=", "margin=", "paper", "weights="} <= set(WORDS["audit"].plain)
    assert "experiment=" not in WORDS["audit"].plain
    assert "roi" in WORDS["show"].plain
    assert "data/source=nih" in WORDS["train"].values
    assert "hydra/launcher=slurm" in WORDS["train"].values
    assert "hydra/help=" not in WORDS["train"].plain
    assert {"into=", "checkpoints="} <= set(WORDS["bundle"].plain)
    assert "checkpoints=true" in WORDS["bundle"].values
    assert {"allow_other_data=", "data="} <= set(WORDS["rerun"].plain)
    assert {"--quick", "seeds="} <= set(WORDS["selftest"].plain)
    assert set(WORDS["completion"].plain) == {"--help", *SHELLS}


def test_values_come_from_choices_in_comments():
    settings = hydra_settings(CONF, "train")
    assert settings["roi.fill"] == (
        "black", "mean", "border_mean", "noise", "blur", "inpaint", "shuffle",
    )  # fmt: skip
    assert settings["weights"] == ("imagenet", "none")  # "path of a weights file" is none
    assert settings["selection"] == ("validation", "paper")
    assert settings["resume"] == ("true", "false")
    assert settings["seed"] == ()


def test_a_usage_text_is_read():
    text = "hideseek x FOLDER [margin=0.1] [flag=true]\nhideseek x word\n\n  other=3   y=2\n  --go"
    settings, words = usage_words("x", text + "\n  after experiment=controls (key=value)")
    assert settings == {"margin": (), "flag": ("true",), "other": ()}
    assert words == {"--help", "word", "--go"}


def test_no_word_means_anything_to_a_shell():
    for words in WORDS.values():
        for word in (*words.plain, *words.dotted, *words.values):
            assert SAFE.fullmatch(word), word


def test_the_command_prints_scripts_and_refuses_other_shells(capsys):
    assert completion(["bash"]) == 0
    assert capsys.readouterr().out == script("bash", WORDS)
    assert completion(["--help"]) == 0
    assert completion([]) == 2
    assert capsys.readouterr().out.startswith("hideseek completion bash|zsh|fish")
    with pytest.raises(UserError, match="'tcsh': give one of bash, zsh, fish"):
        completion(["tcsh"])


def test_no_network_library_is_imported():
    code = (
        "import sys; from hideseek.completion import completion; completion(['fish']);"
        "sys.exit(','.join({'torch', 'matplotlib', 'polars', 'wandb'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# The shells themselves.


def bash(line, breaks=None):
    """Complete a line as bash does; returns the replies as they stand in COMPREPLY."""
    split = line.replace("=", " = ") if breaks is None else line
    words = split.split() + ([""] if line.endswith((" ", "=")) else [])
    listed = " ".join(f"'{word}'" for word in words)
    code = f"""{script("bash", WORDS)}
    {"" if breaks is None else f"COMP_WORDBREAKS='{breaks}'"}
    COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({listed}) COMP_CWORD={len(words) - 1}
    _hideseek
    (( ${{#COMPREPLY[@]}} == 0 )) || printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


@needs("bash")
def test_bash_completes_verbs_keys_values_and_paths(place):
    assert bash("hideseek tr") == ["train "]
    assert {"prepare ", "doctor ", "show "} <= set(bash("hideseek "))
    assert bash("hideseek train mod") == ["model.", "model="]
    assert bash("hideseek train -m") == ["-m "]
    assert bash("hideseek prepare mod") == []
    # What stands before "=" is not replaced by bash.
    assert bash("hideseek train model=al") == ["alexnet "]
    assert bash("hideseek train seed=1 roi=lungs_r") == ["lungs_removed "]
    assert len(bash("hideseek train roi=")) == len(list((CONF / "roi").glob("*.yaml")))
    assert bash("hideseek train roi.fi") == ["roi.fill="]
    assert bash("hideseek train roi.fill=no") == ["noise "]
    assert bash("hideseek train -m model=alexnet,vg") == ["alexnet,vgg11 "]
    assert bash("hideseek prepare data.manifest=im") == ["images.csv"]
    assert bash("hideseek prepare data.manifest=two") == ["two words.csv"]
    assert bash("hideseek audit mul") == ["multirun"]
    assert bash("hideseek audit pap") == ["paper "]
    assert set(bash("hideseek bundle ")) == {"images.csv", "multirun", "two words.csv"}
    assert bash("hideseek bundle multirun/mine int") == ["into="]
    assert bash("hideseek completion z") == ["zsh "]
    assert bash("hideseek nonsense x") == []


@needs("bash")
@pytest.mark.parametrize("typed", ["$(touch${IFS}pwned)", "`touch${IFS}pwned`", "$(<images.csv)"])
def test_what_is_typed_is_never_run(typed, place):
    for line in (f"hideseek train model={typed},t", f"hideseek train {typed}", f"hideseek {typed}"):
        bash(line)
    assert not (place / "pwned").exists()


@needs("bash")
def test_names_of_files_are_no_patterns(place):
    (place / "[ab]*").touch()
    assert "[ab]*" in bash("hideseek prepare data.manifest=")


@needs("bash")
def test_bash_that_does_not_split_at_equals_signs(place):
    assert bash("hideseek train model=al", breaks=" ") == ["model=alexnet "]
    assert bash("hideseek prepare data.manifest=im", breaks=" ") == ["data.manifest=images.csv"]


def typed(command, line, tmp_path):
    """Type a line with a tab into an interactive shell, and return what it then runs."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", ZDOTDIR=str(tmp_path), HOME=str(tmp_path), PS1="> ")
        os.execvp(command[0], command)
    try:
        for text in (f"source {tmp_path}/start\n", f"{line}\t\n"):
            time.sleep(0.5)
            os.write(terminal, text.encode())
        seen, end = "", time.monotonic() + 30
        while "GOT:" not in seen or not seen.partition("GOT:")[2].count("\n"):
            ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
            assert ready, seen
            seen += os.read(terminal, 4096).decode()
        return seen.partition("GOT:")[2].partition("\n")[0].strip()
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)


COMPLETED = [
    ("hideseek tra", "train"),
    ("hideseek train model=al", "train model=alexnet"),
    ("hideseek train model=alexnet,vg", "train model=alexnet,vgg11"),
    ("hideseek train roi.fi", "train roi.fill="),
    ("hideseek prepare data.manifest=im", "prepare data.manifest=images.csv"),
    ("hideseek audit mult", "audit multirun/"),
]


def interactive(shell, command, line, place):
    shown = 'hideseek() { printf "GOT"; printf ":%s\\n" "$*"; }\n'
    (place / "start").write_text(script(shell, WORDS) + shown)
    return typed(command, line, place)


@needs("zsh")
@pytest.mark.parametrize(("line", "whole"), COMPLETED)
def test_zsh_completes_what_is_typed(line, whole, place):
    # Of a folder, zsh takes the slash back when the line is run.
    assert interactive("zsh", ["zsh", "-f", "-i"], line, place) == whole.rstrip("/")


@needs("bash")
@pytest.mark.parametrize(("line", "whole"), COMPLETED)
def test_bash_completes_what_is_typed(line, whole, place):
    assert interactive("bash", ["bash", "--norc", "-i"], line, place) == whole


@needs("fish")
def test_fish_completes_verbs_keys_values_and_paths(place):
    (place / "start.fish").write_text(script("fish", WORDS))

    def offered(line):
        code = f"source {place}/start.fish; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", code], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        return [each.partition("\t")[0] for each in done.stdout.splitlines()]

    for line, whole in COMPLETED:
        assert offered(line) == [whole.rpartition(" ")[2]]
    assert set(offered("hideseek ")) == set(WORDS)
    assert {"roi", "roi."} == set(offered("hideseek show ro"))
    assert not offered("hideseek nonsense x")
