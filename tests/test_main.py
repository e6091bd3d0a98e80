"""What a user types, from the outside: verbs, help, mistakes and whole small runs."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from hideseek.data import phantom
from hideseek.sweep.process import clean_environment

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("data.phantom.images=60", "data.phantom.size=96", "epochs=1", "logger=csv", "trainer=cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def hideseek(place: Path) -> Command:
    """Run `hideseek ...` in an empty folder, as an installed user does."""

    def run(
        *words: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hideseek", *words],
            cwd=place,
            env={**clean_environment(os.environ), "WANDB_MODE": "", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_verbs(hideseek: Command) -> None:
    usage = hideseek()
    assert usage.returncode == 2 and "hideseek prepare" in usage.stdout
    assert hideseek("--help").returncode == 0
    unknown = hideseek("trian")
    assert unknown.returncode == 2 and "unknown verb 'trian'" in unknown.stdout


def test_help_lists_the_choices(hideseek: Command) -> None:
    shown = hideseek("train", "--help")
    assert shown.returncode == 0
    for word in ("covidnet_cxr4a", "lungs_boxed_out", "random_box_out", "ddp_cpu", "paper_grid"):
        assert word in shown.stdout


@pytest.mark.parametrize("sweep", [(), ("-m",)])
@pytest.mark.parametrize(
    ("wrong", "choice"), [("model=alexnett", "alexnet"), ("roi=lungs", "lungs_isolated")]
)
def test_wrong_choice_lists_the_right_ones(
    hideseek: Command, place: Path, sweep: tuple[str, ...], wrong: str, choice: str
) -> None:
    refused = hideseek("train", *sweep, wrong, "sweep=wrong")
    assert refused.returncode != 0
    assert choice in refused.stderr and "Traceback" not in refused.stderr
    assert not (place / "multirun" / "wrong").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("data=manifest", "data.cache=none.h5"), ("none.h5 does not exist", "hideseek prepare")),
        (("data=manifest", "data.manifest=none.csv"), ("none.csv: no such file",)),
        (("data=manifest",), ("data.manifest is not set",)),
        (("model=alexnet", "image_size=40"), ("image_size=40 is too small for alexnet", "63")),
        (("model=alexnet", "weights=none.pth"), ("none.pth",)),
    ],
)
def test_mistakes_are_one_line(
    hideseek: Command, words: tuple[str, ...], says: tuple[str, ...]
) -> None:
    failed = hideseek("train", *SMALL[2:], "sweep=mistakes", *words)
    assert failed.returncode == 2
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("hideseek train:")]
    assert all(word in line for word in says)
    assert "Traceback" not in failed.stderr


def test_sweep_runs_every_cell_and_keeps_the_finished(hideseek: Command, place: Path) -> None:
    # 40 px is too small for AlexNet alone, so one cell of three fails.
    words = ("train", "-m", *SMALL, "sweep=three", "image_size=40")
    swept = hideseek(*words, "model=alexnet,tiny", "roi=lungs_isolated,lungs_removed")
    folder = place / "multirun" / "three"
    assert swept.returncode == 1
    assert "2 cells failed" in swept.stdout and "image_size=40 is too small" in swept.stdout
    results = rows(folder / "results.csv")
    assert [row["folder"] for row in results] == ["tiny-lungs_isolated-s0", "tiny-lungs_removed-s0"]
    assert {row["cell"] for row in rows(folder / "failures.csv")} == {
        "alexnet-lungs_isolated-s0",
        "alexnet-lungs_removed-s0",
    }
    assert (folder / "representations.png").stat().st_size > 10_000

    written = (folder / "tiny-lungs_removed-s0" / "predictions.csv").stat().st_mtime_ns
    again = hideseek(*words, "model=tiny", "roi=lungs_removed,lungs_framed")
    assert again.returncode == 0
    assert "tiny-lungs_removed-s0: finished before, kept" in again.stdout
    assert (folder / "tiny-lungs_removed-s0" / "predictions.csv").stat().st_mtime_ns == written
    assert len(rows(folder / "results.csv")) == 3
    changed = hideseek(*words, "model=tiny", "roi=lungs_removed", "learning_rate=0.1")
    assert "tiny-lungs_removed-s0: done" in changed.stdout


def test_a_cell_leaves_what_the_design_says(hideseek: Command, place: Path) -> None:
    assert hideseek("train", *SMALL, "sweep=one", "roi=silhouette", "roi.margin=5").returncode == 0
    cell = place / "multirun" / "one" / "tiny-silhouette-s0"
    names = {str(path.relative_to(cell)) for path in cell.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "overrides.yaml", "history.csv", "predictions.csv", "metrics.json",
        "provenance.json", "done.json", "log.txt", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "attribution.png",
    }  # fmt: skip
    predictions = pl.read_csv(cell / "predictions.csv")
    assert predictions.columns == [
        "image_id", "patient_id", "source", "split", "label", "prediction",
        "p_normal", "p_pneumonia", "p_covid19",
    ]  # fmt: skip
    assert set(predictions["split"]) == {"test"} and predictions["image_id"].is_unique().all()
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert json.loads((cell / "metrics.json").read_text())["accuracy"] == pytest.approx(right)
    assert "margin: 5" in (cell / "config.yaml").read_text()


ONE_BY_ONE = """
import json
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class OneByOne(Sweeper):
    def __init__(self, rates):
        self.rates = rates

    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        scores = {}
        for number, rate in enumerate(self.rates):
            jobs = [[*arguments, f"learning_rate={rate}"]]
            (result,) = self.launcher.launch(jobs, initial_job_idx=number)
            try:
                scores[rate] = result.return_value
            except Exception as error:
                scores[rate] = f"{type(error).__name__}: {error}"
        Path("scores.json").write_text(json.dumps(scores))


node = {"_target_": "hydra_plugins.one_by_one.OneByOne", "rates": [0.001, 0.01, -1]}
ConfigStore.instance().store(group="hydra/sweeper", name="one_by_one", node=node)
"""


@pytest.mark.slow
def test_an_adaptive_sweeper_gets_the_score_of_each_cell(hideseek: Command, place: Path) -> None:
    (place / "hydra_plugins").mkdir()
    (place / "hydra_plugins" / "one_by_one.py").write_text(ONE_BY_ONE)
    words = ("train", "-m", *SMALL, "hydra/sweeper=one_by_one", "sweep=adaptive")
    done = hideseek(*words, environment={"PYTHONPATH": str(place)})
    assert done.returncode == 0, done.stderr
    scores = json.loads((place / "scores.json").read_text())
    cells = place / "multirun" / "adaptive"
    for rate in ("0.001", "0.01"):
        (cell,) = cells.glob(f"tiny-original-s0-learning_rate_{rate}*")
        assert scores[rate] == json.loads((cell / "done.json").read_text())["score"] >= 0
    # Adam refuses a negative rate, and the sweeper is told instead of stopped.
    assert scores["-1"].startswith("CellFailed: tiny-original-s0-learning_rate")
    assert "Invalid learning rate" in scores["-1"]
    assert len(rows(cells / "results.csv")) == 2
    assert [row["reason"][:10] for row in rows(cells / "failures.csv")] == ["ValueError"]


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(hideseek: Command, place: Path) -> None:
    words = ("train", "-m", *SMALL, "epochs=2", "roi=lungs_isolated,random_box_out")
    assert hideseek(*words, "sweep=one_process").returncode == 0
    assert hideseek(*words, "sweep=again").returncode == 0
    assert hideseek(*words, "sweep=two_processes", "trainer=ddp_cpu").returncode == 0
    for cell in ("tiny-lungs_isolated-s0", "tiny-random_box_out-s0"):
        one, again, two = (
            pl.read_csv(place / "multirun" / sweep / cell / "predictions.csv")
            for sweep in ("one_process", "again", "two_processes")
        )
        assert one.equals(again)
        assert one["image_id"].to_list() == two["image_id"].to_list()
        for name in ("p_normal", "p_pneumonia", "p_covid19"):
            assert two[name].to_numpy() == pytest.approx(one[name].to_numpy(), abs=1e-4)
        histories = [
            pl.read_csv(place / "multirun" / sweep / cell / "history.csv")
            for sweep in ("one_process", "two_processes")
        ]
        for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
            assert histories[0][name].to_numpy() == pytest.approx(
                histories[1][name].to_numpy(), abs=1e-4
            )


@pytest.fixture(scope="module")
def pairs(place: Path) -> tuple[str, ...]:
    """Draw image and mask pairs, and say how a segmenter trains on them in seconds."""
    phantom.write(phantom.PhantomRecipe(images=60, size=64), place / "pairs")
    given = (f"data.manifest={place}/pairs/manifest.csv", f"data.root={place}/pairs")
    return (*given, "image_size=64", "epochs=2", "logger=csv", "trainer=cpu")


@pytest.mark.slow
def test_a_segmenter_on_two_processes_gives_the_numbers_of_one(
    hideseek: Command, place: Path, pairs: tuple[str, ...]
) -> None:
    # Without BatchNorm: on the CPU torch cannot share its statistics between processes.
    small = ("model.net.norm=false", "model.net.widths=[8,16]")
    words = ("train", "experiment=segment_lungs", *pairs, *small)
    assert hideseek(*words, "sweep=lungs_one").returncode == 0
    two = hideseek(*words, "sweep=lungs_two", "trainer=ddp_cpu")
    assert two.returncode == 0, two.stderr
    cells = [place / "multirun" / name / "unet_small-original-s0" for name in (
        "lungs_one", "lungs_two")]  # fmt: skip
    text = (cells[1] / "config.yaml").read_text()
    assert "schedule: onecycle" in text and "ema_decay: 0.995" in text and "devices: 2" in text
    for file, tolerance in (("predictions.csv", 2e-3), ("table2.csv", 2e-3), ("history.csv", 1e-3)):
        one, other = (pl.read_csv(cell / file) for cell in cells)
        assert one.columns == other.columns and one.height == other.height > 1
        names = pl.selectors.string()
        assert one.select(names).equals(other.select(names))
        for name in one.select(pl.selectors.float().exclude("seconds")).columns:
            assert other[name].to_numpy() == pytest.approx(
                one[name].to_numpy(), abs=tolerance, nan_ok=True
            ), (file, name)
    losses = [pl.read_csv(cell / "history.csv")["train/loss"].to_list() for cell in cells]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # A wrong schedule or average would not show in a training that does not move.
    assert losses[0][0] - losses[0][1] > 0.01


@pytest.mark.slow
def test_the_papers_segmenter_prints_how_much_its_choice_flatters(
    hideseek: Command, place: Path, pairs: tuple[str, ...]
) -> None:
    # The paper's settings on a smaller network, which cores can train.
    small = ("model=unet_small", "batch_size=4", "epochs=3", "schedule=constant", "ema_decay=null")
    words = ("train", "experiment=paper_segmentation", *pairs, *small)
    done = hideseek(*words, "sweep=flattered", "selection=paper")
    assert done.returncode == 0, done.stderr
    cell = place / "multirun" / "flattered" / "unet_small-original-s0"
    names = {str(path.relative_to(cell)) for path in cell.rglob("*") if path.is_file()}
    assert names == {
        "config.yaml", "overrides.yaml", "history.csv", "predictions.csv", "metrics.json",
        "provenance.json", "done.json", "log.txt", "table2.csv", "table2.md", "table2.tex",
        "predictions_validation.csv", "optimism.csv", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", "checkpoints/validation.ckpt",
    }  # fmt: skip
    metrics = json.loads((cell / "metrics.json").read_text())
    assert f"optimism {metrics['optimism_f1_lung']:.3f} per image" in done.stdout
    history = pl.read_csv(cell / "history.csv")
    best, other = history["test/f1_lung"].arg_max(), history["val/f1_lung"].arg_max()
    assert best is not None and other is not None
    # The scores that chose are pooled over pixels.
    chosen, given = history["test/f1_lung"][best], history["test/f1_lung"][other]
    assert metrics["f1_lung_pooled"] == pytest.approx(chosen, abs=1e-5)
    assert metrics["f1_lung_pooled_validation_choice"] == pytest.approx(given, abs=1e-5)
    assert metrics["optimism_f1_lung_pooled"] == pytest.approx(chosen - given, abs=1e-5)
    again = hideseek(*words, "sweep=flattered")
    assert again.returncode == 0 and not (cell / "optimism.csv").exists()
    assert "optimism" not in again.stdout


@pytest.mark.slow
def test_wandb_without_a_key_is_offline(hideseek: Command, place: Path) -> None:
    home = {"HOME": str(place), "WANDB_API_KEY": "", "NETRC": str(place / "none")}
    words = ("train", *SMALL, "sweep=logged", "logger=wandb")
    logged = hideseek(*words, environment=home)
    assert logged.returncode == 0, logged.stderr
    assert "offline" in logged.stdout
    assert len(list((place / "multirun/logged/tiny-original-s0/wandb").glob("offline-run-*"))) == 1


@pytest.mark.slow
def test_real_images_from_manifest_to_results(hideseek: Command, place: Path, pack: Path) -> None:
    manifest = pl.read_csv(pack / "manifest.csv", infer_schema=False).fill_null("")
    labelled = manifest.filter(pl.col("label") != "")
    some = labelled.sort("image").group_by("label", maintain_order=True).head(40)
    odd = {name: "" for name in some.columns} | {"image": "odd-files/made/truncated.jpg"}
    odd |= {"label": "normal", "source": "odd", "patient_id": "odd"}
    table = pl.concat([some, pl.DataFrame([odd], schema=some.schema)])
    path = place / "some images.csv"
    table.write_csv(path)
    data = (f"data.manifest='{path}'", f"data.root={pack}", "data.splits=null")
    prepared = hideseek("prepare", *data)
    assert prepared.returncode == 0, prepared.stderr
    assert "truncated" in prepared.stdout and "left out" in prepared.stdout
    (problems,) = (place / "cache").glob("cache-manifest-224-*.problems.csv")
    assert "truncated.jpg" in problems.read_text()
    assert "was there already" in hideseek("prepare", *data).stdout
    trained = hideseek(
        "train", *SMALL[2:], "data=manifest", *data, "sweep=real", "roi=lungs_framed"
    )
    assert trained.returncode == 0, trained.stderr
    predictions = pl.read_csv(place / "multirun/real/tiny-lungs_framed-s0/predictions.csv")
    assert set(predictions["label"]) <= {"normal", "pneumonia", "covid19"}
