from __future__ import annotations

import json
import typing
from pathlib import Path

import polars as pl
import pytest

from hideseek.audit import selftest as module
from hideseek.audit.outcomes import EXPECTED, OUTCOMES, expected, outcome, rate, summarize
from hideseek.audit.planted import Background, Planted
from hideseek.audit.rehearsal import Rehearsal
from hideseek.audit.selftest import REAL, Options, background_of, plan, read_options, selftest
from hideseek.audit.verdict import MEANING, Name
from hideseek.data import paste
from hideseek.data.phantom import CARRIERS
from hideseek.errors import UserError
from hideseek.report.selftest import confusion_table, power_table

FILMS = Background("films/manifest.csv", None, "north", "0a1b2c3d")


def found(
    verdict: str,
    carrier: str = "marker",
    strength: float = 1.0,
    images: int = 480,
    background: Background | None = None,
):
    planted = Planted(carrier, strength, images, 100, background)
    return Rehearsal(planted, verdict, "", {"ba_original": 0.5})


def test_every_carrier_has_a_verdict_that_exists():
    assert {name for joined in EXPECTED for name in joined.split("+")} == set(CARRIERS)
    assert set(CARRIERS) <= set(EXPECTED)
    assert set(EXPECTED.values()) <= set(MEANING) == set(typing.get_args(Name))
    assert set(MEANING) - set(EXPECTED.values()) == {"inconclusive"}
    assert {EXPECTED[joined] for joined in EXPECTED if "+" in joined} == {"mixed"}


def test_joined_carriers_are_planted_together():
    drawn = Planted("opacity+marker", 1.0, 480, 100)
    assert "data.phantom.carriers=[opacity,marker]" in drawn.words()
    assert drawn.name == "opacity+marker-1-n480-s100"


@pytest.mark.parametrize(
    ("carrier", "strength", "verdict", "says"),
    [
        ("marker", 1.0, "outside_marker", "correct"),
        ("marker", 0.25, "outside_marker", "correct"),
        ("marker", 1.0, "adjacent_anatomy", "wrong"),
        ("marker", 1.0, "mixed", "wrong"),
        ("marker", 0.5, "no_signal", "missed"),
        ("marker", 0.5, "inconclusive", "inconclusive"),
        ("marker", 0.0, "no_signal", "correct"),
        ("marker", 0.0, "inconclusive", "inconclusive"),
        ("marker", 0.0, "outside_marker", "false_alarm"),
        ("opacity", 0.0, "lungs", "false_alarm"),
        ("none", 0.0, "mixed", "false_alarm"),
        ("lung_size", 1.0, "mask_confounded", "correct"),
        ("mask_error", 1.0, "mask_confounded", "correct"),
        ("mask_error", 1.0, "lungs", "wrong"),
    ],
)
def test_a_verdict_is_held_against_the_truth(carrier, strength, verdict, says):
    assert outcome(Planted(carrier, strength, 480, 100), verdict) == says
    assert says in OUTCOMES


def test_what_can_be_pasted_has_a_verdict():
    assert set(REAL) == set(paste.CARRIERS)
    assert set(REAL) <= set(EXPECTED)
    for carrier in REAL:
        phantom, real = (Planted(carrier, 1.0, 480, 1, on) for on in (None, FILMS))
        assert expected(phantom) == expected(real)


def test_nothing_is_expected_of_strength_0():
    assert {expected(Planted(carrier, 0.0, 480, 1)) for carrier in CARRIERS} == {"no_signal"}


def test_the_rate_has_wilsons_interval():
    verdicts = ["outside_marker"] * 3 + ["mixed"]
    share = rate([found(verdict) for verdict in verdicts], "correct")
    # (2 n p + z^2 -+ z sqrt(z^2 + 4 n p (1 - p))) / (2 (n + z^2)) for n = 4, p = 3/4, z = 1.95996
    assert (share.hits, share.cases) == (3, 4)
    assert (share.low, share.high) == pytest.approx((0.30064, 0.95441), abs=1e-5)
    assert str(share) == "3/4  75 % (30-95)"
    assert str(rate([], "correct")) == "0/0  no case (0-100)"


def test_the_default_plan():
    planted = plan(Options())
    # 5 seeds x 2 sizes x (9 plantings at strength 0 + 8 at three strengths)
    assert len(planted) == 5 * 2 * (9 + 3 * 8) == 330
    assert len({each.name for each in planted}) == len({each.drawing for each in planted}) == 330
    assert sum(each.strength == 0 for each in planted) == 90
    assert {each.strength for each in planted if each.carrier == "none"} == {0.0}


def test_the_quick_plan_is_small_and_can_be_changed():
    quick = plan(read_options(["--quick"]))
    assert len(quick) == 9 + 8
    assert {each.images for each in quick} == {480}
    twice = read_options(["--quick", "seeds=100,100", "strengths=0,1,1.0,0"])
    assert plan(twice) == quick
    more = read_options(["seeds=100,200-202", "--quick", "carriers=marker,none", "folder=x"])
    assert more.seeds == (100, 200, 201, 202)
    assert (more.strengths, more.folder) == ((0.0, 1.0), Path("x"))
    assert [(each.carrier, each.strength) for each in plan(more)][:3] == [
        ("marker", 0.0), ("none", 0.0), ("marker", 1.0),
    ]  # fmt: skip


def test_a_plan_on_real_radiographs():
    words = ["real=m.csv", "root=r", "source=north", "seeds=300,301", "strengths=0,1", "images=480"]
    options = read_options(words)
    assert (options.real, options.root, options.source) == ("m.csv", "r", "north")
    assert options.carriers == REAL
    planted = plan(options, FILMS)
    assert len(planted) == 2 * (4 + 3)
    assert len({each.name for each in planted}) == len({each.drawing for each in planted}) == 14
    assert {each.on for each in planted} == {"real"}
    assert {each.background for each in planted} == {FILMS}
    assert {each.on for each in plan(Options())} == {"phantom"}
    few = read_options(["carriers=marker", "real=m.csv"])
    assert few.carriers == ("marker",)


def test_radiographs_are_known_by_their_content(tmp_path):
    manifest, other = tmp_path / "m.csv", tmp_path / "n.csv"
    manifest.write_text("path,source,mask\na.png,north,b.png\nc.png,south,d.png\n")
    other.write_text("path,source,mask\na.png,north,b.png\nc.png,south,e.png\n")

    def on(*words: str) -> Background:
        background = background_of(read_options(words))
        assert background is not None
        return background

    first = on(f"real={manifest}")
    assert first == Background(str(manifest), None, None, first.digest)
    assert len(first.digest) == 8
    assert on(f"real={manifest}", f"root={tmp_path}").digest == first.digest
    assert on(f"real={other}").digest != first.digest
    assert on(f"real={manifest}", "source=north").digest != first.digest
    assert background_of(Options()) is None
    with pytest.raises(UserError, match="no row of source 'east'"):
        on(f"real={manifest}", "source=east")
    with pytest.raises(UserError, match=r"absent.csv: no such file"):
        on("real=absent.csv")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["real=m.csv", "carriers=heart"], "carriers=heart is unknown on real radiographs; known"),
        (["root=r"], "give real=MANIFEST too"),
        (["source=north"], "give real=MANIFEST too"),
    ],
)
def test_wrong_words_about_radiographs_are_refused(words, says):
    with pytest.raises(UserError, match=says):
        read_options(words)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("quick", "'quick' is unknown; known are --quick, seeds"),
        ("seed=3", "'seed=3' is unknown"),
        ("seeds=x", "'x' is not a list of numbers"),
        ("seeds=3-1", "seeds: give at least one"),
        ("seeds=-1", "not a list of numbers"),
        ("strengths=2", r"strengths: give numbers in 0..1"),
        ("strengths=nan", r"strengths: give numbers in 0..1"),
        ("images=12", "images=60 or more"),
        ("carriers=tube", "carriers=tube is unknown; known are none, opacity"),
        ("workers=-1", "workers=1 or more"),
    ],
)
def test_wrong_words_are_refused_with_a_line(word, says):
    with pytest.raises(UserError, match=says):
        read_options([word])


@pytest.mark.parametrize(("alarms", "correct", "met"), [(1, 19, True), (2, 18, False)])
def test_the_goals_at_their_edges(alarms, correct, met):
    nothing = ["mixed"] * alarms + ["no_signal"] * (18 - alarms) + ["inconclusive"] * 2
    full = ["outside_marker"] * correct + ["inconclusive"] * (20 - correct)
    summary = summarize(
        [found(verdict, strength=0.0) for verdict in nothing]
        + [found(verdict) for verdict in full]
        + [found("no_signal", strength=0.5)]  # at part of the strength nothing is promised
    )
    assert [goal["met"] for goal in summary["goals"].values()] == [met, met]
    assert [goal["cases"] for goal in summary["goals"].values()] == [20, 20]
    strengths = {row["strength"]: row for row in summary["power"]}
    assert strengths[1.0]["hits"] == correct
    assert strengths[0.0]["carrier"] == "none"
    assert strengths[0.5]["missed"] == 1


@pytest.mark.parametrize(("verdict", "status"), [("right", 0), ("mixed", 1)])
def test_the_command_writes_prints_and_exits(verdict, status, monkeypatch, tmp_path, capsys):
    def pretend(planted, folder, workers, advance):
        advance(len(planted))
        names = [expected(each) if verdict == "right" else verdict for each in planted]
        return [
            Rehearsal(each, name, "", {"ba_original": 0.4, "auc_original": 0.6})
            for each, name in zip(planted, names, strict=True)
        ]

    monkeypatch.setattr(module, "rehearse", pretend)
    assert selftest(["--quick", f"folder={tmp_path}"]) == status
    shown = capsys.readouterr().out
    assert ("MISSED" in shown) == bool(status)
    table = pl.read_csv(tmp_path / "selftest.csv")
    assert table.height == 17
    columns = ["carrier", "strength", "images", "seed", "background"]
    columns += ["expected", "verdict", "outcome", "failing"]
    assert table.columns == [*columns, "ba_original", "auc_original"]
    assert set(table["background"]) == {"phantom"}
    content = json.loads((tmp_path / "selftest.json").read_text())
    alarms, correct = content["goals"].values()
    assert (alarms["cases"], correct["cases"]) == (9, 8)
    assert (alarms["hits"], correct["hits"]) == ((0, 8) if status == 0 else (9, 2))
    assert content["background"] is None
    assert {row["background"] for row in content["power"]} == {"phantom"}
    assert "data=phantom" in content["settings"]


def test_the_command_says_what_it_planted_on(monkeypatch, tmp_path, capsys):
    def pretend(planted, folder, workers, advance):
        return [Rehearsal(each, expected(each), "", {"ba_original": 0.4}) for each in planted]

    monkeypatch.setattr(module, "rehearse", pretend)
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,source,mask\na.png,north,b.png\n")
    assert selftest(["--quick", f"real={manifest}", f"folder={tmp_path}"]) == 0
    assert "real" in capsys.readouterr().out
    table = pl.read_csv(tmp_path / "selftest.csv")
    assert table.height == 4 + 3
    assert set(table["background"]) == {"real"}
    content = json.loads((tmp_path / "selftest.json").read_text())
    assert content["background"]["manifest"] == str(manifest)
    assert {row["background"] for row in content["power"]} == {"real"}
    assert "data=pasted" in content["settings"]


def test_tables_count_every_data_set():
    rehearsals = [
        found("outside_marker"), found("mixed"), found("lungs", "opacity", images=240),
        found("no_signal", "gain", 0.0), found("no_signal", "gain", 0.5),
    ]  # fmt: skip
    table = confusion_table(rehearsals)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    names = [str(column.header) for column in table.columns]
    marker = dict(zip(names, rows[0], strict=True))
    assert (marker["outside\nmarker"], marker["mixed"], marker["lungs"]) == (
        "[bold]1[/bold]", "1", "",
    )  # fmt: skip
    assert [row[1] for row in rows] == ["marker", "opacity", "nothing"]
    assert {row[0] for row in rows} == {"phantom"}
    assert power_table(rehearsals).row_count == 4
    both = [*rehearsals, found("outside_marker", background=FILMS)]
    assert list(confusion_table(both).columns[0].cells).count("real") == 1
    assert list(power_table(both).columns[0].cells) == ["phantom"] * 4 + ["real"]


def test_help(capsys):
    assert selftest(["--help"]) == 0
    assert "folder=multirun/selftest" in capsys.readouterr().out
