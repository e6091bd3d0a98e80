from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.errors import UserError
from hideseek.sweep import verbs
from hideseek.sweep.verbs import FOLDER_VERBS, USAGE, run, settings


def test_every_verb_says_how_it_is_used(capsys):
    assert FOLDER_VERBS.keys() == USAGE.keys()
    for verb in FOLDER_VERBS:
        for words, status in ((["--help"], 0), ([], 2)):
            with pytest.raises(SystemExit) as caught:
                run(verb, words)
            assert caught.value.code == status
            assert capsys.readouterr().out.startswith(f"hideseek {verb} ")


def test_settings_are_known_keys():
    assert settings(["b=2=3"], {"a": None, "b": "1"}) == {"a": None, "b": "2=3"}
    for word in ("c=1", "a", ""):
        with pytest.raises(UserError, match="known are a, b"):
            settings([word], {"a": None, "b": "1"})
    with pytest.raises(UserError, match="no settings"):
        settings(["x=1"], {})


@pytest.mark.parametrize("verb", FOLDER_VERBS)
def test_a_path_that_is_not_there_is_one_line(verb, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(verb, [str(tmp_path / "nowhere")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hideseek {verb}: ")
    assert "nowhere" in line


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted(path: Path, words: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(verbs.FOLDER_VERBS, "sync", interrupted)
    with pytest.raises(SystemExit) as caught:
        run("sync", ["x"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "hideseek sync: interrupted\n"


def test_the_papers_tables_are_audited_without_a_sweep(capsys):
    run("audit", ["paper"])
    assert "Holm" in capsys.readouterr().out
