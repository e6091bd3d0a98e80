from __future__ import annotations

import json
from pathlib import Path

import pytest

from hideseek.errors import UserError
from hideseek.sweep.runs import cell_results, read_done, read_training, sweep_results

HEADER = "image_id,patient_id,source,split,label,prediction,p_a,p_b,p_c\n"
PREDICTIONS = (
    HEADER
    + "1,1,x,test,a,a,1,0,0\n"
    + "2,2,x,test,a,b,0,1,0\n"
    + "3,3,x,test,b,b,0,1,0\n"
    + "4,4,x,test,b,b,0,1,0\n"
)
HISTORY = "epoch,seconds,train/loss\n0,1.25,0.5\n1,1.5,0.25\n"
SEGMENTED = (
    "image_id,patient_id,source,split,recall_background,precision_background,jaccard_background,"
    "f1_background,recall_lung,precision_lung,jaccard_lung,f1_lung,accuracy\n"
    "1,1,x,test,1,1,1,1,0.5,1,0.5,0.75,0.5\n"
    "2,2,y,test,1,1,1,1,NaN,NaN,NaN,NaN,1\n"
)


def write_cell(folder: Path, **done) -> Path:
    folder.mkdir(parents=True)
    content = {
        "model": "tiny", "roi": "original", "seed": 0, "task": "classify",
        "classes": ["a", "b", "c"], **done,
    }  # fmt: skip
    (folder / "done.json").write_text(json.dumps(content))
    (folder / "predictions.csv").write_text(PREDICTIONS)
    (folder / "history.csv").write_text(HISTORY)
    lie = {"accuracy": 0.999, "sens_a": 0.999, "n": 999}
    (folder / "metrics.json").write_text(json.dumps(lie))
    return folder


def test_results_come_from_the_predictions_and_not_from_what_was_logged(tmp_path):
    row = cell_results(write_cell(tmp_path / "tiny-original-s0"))
    assert list(row)[:4] == ["model", "roi", "seed", "accuracy"]
    assert row["accuracy"] == 3 / 4
    assert (row["sens_a"], row["sens_b"]) == (1 / 2, 1)
    assert row["ppv_b"] == pytest.approx(2 / 3)
    assert row["n"] == 4
    assert row["epochs"] == 2
    assert not any("second" in name for name in row)
    assert row["folder"] == "tiny-original-s0"


def test_a_segmenters_results_are_means_over_images(tmp_path):
    folder = write_cell(tmp_path / "cell", task="segment", classes=["background", "lung"])
    (folder / "predictions.csv").write_text(SEGMENTED)
    row = cell_results(folder)
    assert row["accuracy"] == 0.75
    assert row["recall_lung"] == 0.5
    assert row["images"] == 2


def test_a_sweep_is_a_row_a_finished_cell(tmp_path):
    write_cell(tmp_path / "b", seed=1)
    write_cell(tmp_path / "a", seed=0)
    (write_cell(tmp_path / "c") / "done.json").unlink()
    (write_cell(tmp_path / "d") / "done.json").write_text('{"model": "ti')
    (write_cell(tmp_path / "e") / "done.json").write_text("{}")
    (write_cell(tmp_path / "f") / "done.json").write_text("[]")
    (tmp_path / "results.csv").write_text("x\n")
    table = sweep_results(tmp_path)
    assert table["folder"].to_list() == ["a", "b"]
    assert table["seed"].to_list() == [0, 1]
    assert table["sens_c"].to_list() == [None, None]
    assert table["accuracy"].to_list() == [0.75, 0.75]


def test_a_sweep_without_a_finished_cell_is_empty(tmp_path):
    assert sweep_results(tmp_path).is_empty()
    (write_cell(tmp_path / "a") / "done.json").write_text("")
    assert sweep_results(tmp_path).is_empty()


def test_an_unfinished_cell_has_no_results(tmp_path):
    assert read_done(tmp_path) == {}
    with pytest.raises(UserError, match="not finished"):
        cell_results(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("predictions.csv", None),
        ("predictions.csv", b""),
        ("predictions.csv", b"\xff\xfe\x00\x80\n\x80\n"),
        ("predictions.csv", b"a,b\n1,2,3,4\n"),
        ("predictions.csv", b"image_id,label\n1,a\n"),
        ("predictions.csv", (PREDICTIONS + "4,4,x,test,b,b,0,1,0\n").encode()),
        ("predictions.csv", (PREDICTIONS + "5,5,x,test,b\n").encode()),
        ("predictions.csv", (PREDICTIONS + "5,5,x,test,flu,b,0,1,0\n").encode()),
        ("history.csv", None),
        ("history.csv", b""),
        ("done.json", b'{"model": "tiny", "roi": "original", "seed": 0}'),
    ],
)
def test_a_damaged_cell_is_one_line_that_names_it(file, content, tmp_path):
    folder = write_cell(tmp_path / "tiny-original-s0")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        sweep_results(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder}: ")


def test_brackets_in_a_path_are_no_pattern(tmp_path):
    row = cell_results(write_cell(tmp_path / "[x]*"))
    assert row["accuracy"] == 0.75


def test_what_chose_the_epoch_and_shuffled_labels_tell_rows_apart(tmp_path):
    for name, text in {
        "a": "selection: validation\ndatamodule:\n  shuffle_labels: true\n",
        "b": "selection: paper\ndatamodule:\n  seed: 0\n",
        "c": "datamodule: {shuffle_labels: sometimes}\n",
    }.items():
        (write_cell(tmp_path / name) / "config.yaml").write_text(text)
    write_cell(tmp_path / "d")
    table = sweep_results(tmp_path)
    assert table.columns[-4:] == ["selection", "labels", "data", "folder"]
    assert table["selection"].to_list() == ["validation", "paper", "validation", "validation"]
    assert table["labels"].to_list() == ["shuffled", "true", "true", "true"]


@pytest.mark.parametrize("text", ["[", "- 1\n", "a: &a [*a]\n", "selection: 3\n"])
def test_an_odd_configuration_is_one_line(text, tmp_path):
    folder = write_cell(tmp_path / "a")
    (folder / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml") as caught:
        read_training(folder)
    assert "\n" not in str(caught.value)
