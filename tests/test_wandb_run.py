from __future__ import annotations

import http.server
import json
import os
import struct
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from hideseek import tracking, wandb_run


def offline_records(file: Path):
    """Read a .wandb file: LevelDB's log format behind seven bytes, a protobuf per record."""
    from wandb.proto import wandb_internal_pb2

    raw, position, parts = file.read_bytes(), 7, b""
    assert raw.startswith(b":W&B")
    while position + 7 <= len(raw):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", raw[position : position + 7])
        parts += raw[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def whole_run(path: Path) -> list:
    """Read a run that W&B's own process may still be writing down."""
    for _ in range(100):
        records = list(offline_records(path))
        if {"run", "exit"} <= {record.WhichOneof("record_type") for record in records}:
            break
        time.sleep(0.2)
    return records


def values(items) -> dict[str, object]:
    return {item.key: json.loads(item.value_json) for item in items if item.key}


def merged(records, kind: str) -> dict[str, object]:
    """Collect what the records of a kind set, the configuration that a run starts with first."""
    found: dict[str, object] = {}
    for record in records:
        if record.WhichOneof("record_type") == "run" and kind == "config":
            found |= values(record.run.config.update)
        if record.WhichOneof("record_type") == kind:
            found |= values(getattr(record, kind).update)
    return found


def ours(caplog, level: str = "INFO") -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "hideseek.wandb_run" and record.levelname in (level, "WARNING")
    ]


def rows(records) -> list[dict[str, object]]:
    return [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]


def run_file(folder: Path, kind: str = "offline-run") -> Path:
    (found,) = (folder / "wandb").glob(f"{kind}-*/run-*.wandb")
    return found


@pytest.fixture
def no_key(tmp_path, monkeypatch):
    """A home without any W&B key, a prompt that fails the test, and no W&B process left over."""
    import wandb

    wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("NETRC", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))

    def ask(*_):
        raise AssertionError("asked the user")

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr("getpass.getpass", ask)
    yield home
    wandb.teardown()


def open_run(folder: Path, seed: int = 0, **further):
    folder.mkdir(exist_ok=True)
    given = {"model": "tiny", "roi": "original", "seed": seed, "task": "classify", **further}
    return wandb_run.wandb_logger(folder=str(folder), sweep="grid", **given)


HASHES = {"config_hash": "c1", "recipe_hash": "r1", "manifest_hash": "m1", "version": "0.1.0"}
CONFIG = OmegaConf.create(
    {
        "seed": 3,
        "learning_rate": "${lr}",
        "lr": 0.5,
        "model": {"net": {"widths": [4, 8]}},
        "data": {
            "api_key": "SECRET-1",
            "Hub-Token": {"value": "SECRET-2"},
            "sources": [{"PASSWORD": "SECRET-3"}],
        },
        "hydra": {"secret": "k4"},
    }
)


def test_the_configuration_is_plain_resolved_hashed_and_without_secrets():
    values = wandb_run.run_config(CONFIG, HASHES)
    assert values == {
        "seed": 3,
        "learning_rate": 0.5,
        "lr": 0.5,
        "model": {"net": {"widths": [4, 8]}},
        "data": {"api_key": "***", "Hub-Token": "***", "sources": [{"PASSWORD": "***"}]},
        **HASHES,
    }
    assert type(values["model"]["net"]["widths"]) is list
    assert CONFIG.data.api_key == "SECRET-1"


def test_each_cell_is_an_offline_run_of_its_own(no_key, tmp_path, caplog):
    import wandb

    with caplog.at_level("INFO", "hideseek.wandb_run"):
        for seed in (0, 1):
            logger = open_run(tmp_path / f"cell{seed}", seed)
            logger.log_metrics({"train/loss": 0.5 + seed, "epoch": 0}, step=7)
            tracking.close(logger, {"accuracy": 0.25 + seed, "sens_covid19": float("nan")})
            assert wandb.run is None
    assert [line.split(",")[0] for line in ours(caplog)] == ["W&B: no API key"] * 2
    ids = set()
    for seed in (0, 1):
        records = whole_run(run_file(tmp_path / f"cell{seed}"))
        (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        ids.add(run.run_id)
        assert run.display_name == f"tiny/original/{seed}"
        assert (run.run_group, run.job_type, run.project) == ("grid", "classify", "hideseek")
        assert set(run.tags) == {"tiny", "original"}
        assert [row["train/loss"] for row in rows(records)] == [0.5 + seed]
        summary = merged(records, "summary")
        assert summary["test/accuracy"] == 0.25 + seed
        assert summary["test/sens_covid19"] is None
    assert len(ids) == 2


def test_a_run_left_open_does_not_take_the_next_cells_numbers(no_key, tmp_path):
    first, second = open_run(tmp_path / "a", 0), open_run(tmp_path / "b", 1)
    second.log_metrics({"train/loss": 2.0})
    tracking.close(second, {"accuracy": 1.0})
    assert first.run.id != second.run.id
    assert "train/loss" not in run_file(tmp_path / "a").read_bytes().decode(errors="replace")
    assert [r["train/loss"] for r in rows(whole_run(run_file(tmp_path / "b")))] == [2.0]


class Line(LightningModule):
    """Logs as the tasks do: both phases when validation ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("train/loss", 1.0 / (1 + self.current_epoch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(logger, epochs: int) -> None:
    data = DataLoader(torch.rand(4, 1), batch_size=2)
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    ).fit(Line(), data, data)


def finished_cell(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    lines = ["image_id,label,prediction", "1,a,a", "2,a,b", "3,b,b", "4,b,b", "5,c,a"]
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "shown.png")
    return folder


def test_a_cell_leaves_config_curves_confusion_panels_and_artifact(no_key, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "data.api_key=SECRET"])
    folder = finished_cell(tmp_path / "cell")
    logger = open_run(folder, artifact=True)
    wandb_run.announce(logger, CONFIG, HASHES, continued=False)
    fit(logger, 2)
    wandb_run.log_outcome(logger, ["a", "b", "c"], {"gradcam": folder / "shown.png"})
    tracking.close(logger, {"accuracy": 0.6})
    records = whole_run(run_file(folder))

    config = merged(records, "config")
    assert config.items() >= {**HASHES, "seed": 3, "learning_rate": 0.5}.items()
    assert config["model"] == {"net": {"widths": [4, 8]}}
    assert (config["model_name"], config["roi_name"]) == ("tiny", "original")
    assert "continues" not in config
    curve = [(row["epoch"], row["train/loss"]) for row in rows(records) if "train/loss" in row]
    assert curve == [(0, 1.0), (1, 0.5)]

    files = run_file(folder).parent / "files"
    (table,) = files.rglob("*confusion_table*.table.json")
    counts = {(row[0], row[1]): row[2] for row in json.loads(table.read_text())["data"]}
    assert len(counts) == 9
    some = {("a", "a"): 1, ("a", "b"): 1, ("b", "b"): 2, ("c", "a"): 1}
    assert {pair: count for pair, count in counts.items() if count} == some
    assert merged(records, "summary")["test/confusion_counts"] == {
        "a": {"a": 1, "b": 1, "c": 0},
        "b": {"a": 0, "b": 2, "c": 0},
        "c": {"a": 1, "b": 0, "c": 0},
    }
    (picture,) = (files / "media" / "images" / "panels").glob("gradcam*.png")
    assert picture.read_bytes() == (folder / "shown.png").read_bytes()

    artifacts = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
    (artifact,) = [each for each in artifacts if each.type == "model"]
    assert (artifact.name, artifact.type) == ("grid-cell", "model")
    assert json.loads(artifact.metadata) == HASHES
    (entry,) = artifact.manifest.contents
    assert Path(entry.local_path) == folder / "checkpoints" / "best.ckpt"

    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"SECRET" not in everything


def test_a_continued_cell_names_the_run_before(no_key, tmp_path):
    folder = tmp_path / "cell"
    assert wandb_run.earlier_run(folder) is None
    first = open_run(folder)
    wandb_run.announce(first, CONFIG, HASHES, continued=True)
    tracking.close(first, {})
    time.sleep(1.1)  # W&B names folders by the second
    for continued, expected in ((True, first.run.id), (False, None)):
        logger = open_run(folder)
        wandb_run.announce(logger, CONFIG, HASHES, continued)
        tracking.close(logger, {"accuracy": 1.0})
        path = next((folder / "wandb").glob(f"*-{logger.run.id}/*.wandb"))
        assert merged(whole_run(path), "config").get("continues") == expected
    assert "continues" not in merged(
        whole_run(next((folder / "wandb").glob(f"*-{first.run.id}/*.wandb"))), "config"
    )


def test_the_latest_run_is_known_by_its_time_whether_offline_or_not(tmp_path):
    for name in ("run-20260102_000000-bb", "offline-run-20260101_235959-zz"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / f"run-{name[-2:]}.wandb").touch()
    assert wandb_run.earlier_run(tmp_path) == "bb"


def test_what_cannot_be_logged_is_a_line_each_and_the_rest_is_logged(no_key, tmp_path, caplog):
    folder = finished_cell(tmp_path / "cell")
    (folder / "predictions.csv").unlink()
    logger = open_run(folder)
    images = {"gone": folder / "gone.png", "shown": folder / "shown.png"}
    wandb_run.log_outcome(logger, ["a"], images)
    tracking.close(logger, {"accuracy": 1.0})
    warned = ours(caplog, "WARNING")
    assert [line.split(" failed")[0] for line in warned] == [
        "W&B: the panel gone", "W&B: the confusion matrix",
    ]  # fmt: skip
    files = run_file(folder).parent / "files"
    assert len(list(files.rglob("shown*.png"))) == 1
    assert not list(files.rglob("*.ckpt"))


def test_a_segmenter_has_no_confusion_of_classes(no_key, tmp_path, caplog):
    folder = finished_cell(tmp_path / "cell")
    (folder / "predictions.csv").write_text("image_id,f1_lung\n1,0.5\n")
    logger = open_run(folder)
    wandb_run.log_outcome(logger, ["background", "lung"])
    tracking.close(logger, {"accuracy": 1.0})
    assert ours(caplog, "WARNING") == []
    assert not list((run_file(folder).parent / "files").rglob("*confusion*"))


def test_other_loggers_get_the_configuration_too(tmp_path):
    pytest.importorskip("tensorboard")
    logger = tracking.tensorboard_logger(str(tmp_path))
    wandb_run.announce(logger, CONFIG, HASHES, continued=False)
    wandb_run.log_outcome(logger, ["a"])
    wandb_run.announce(None, CONFIG, HASHES, continued=False)
    wandb_run.log_outcome(None, ["a"])
    assert logger.hparams["recipe_hash"] == "r1"


def test_a_dead_process_of_wandb_costs_a_line_and_nothing_else(no_key, tmp_path, caplog):
    from wandb.sdk.lib import module

    logger = open_run(tmp_path / "cell")
    fit(logger, 1)
    listed = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True)
    for process in listed.stdout.split():
        os.kill(int(process), 9)
    fit(logger, 2)
    wandb_run.log_outcome(logger, ["a"], {"x": tmp_path / "x.png"})
    tracking.close(logger, {"accuracy": 1.0})
    module.unset_globals()  # of a run that nobody can end
    assert ours(caplog, "WARNING") == [
        "W&B: the metrics failed (Connection lost); the cell goes on"
    ]


def test_a_disk_that_wandb_cannot_write_to_leaves_the_cell_without_a_logger(
    no_key, tmp_path, monkeypatch, caplog
):
    import wandb

    def full(**_):
        raise OSError("no space left\non device")

    monkeypatch.setattr(wandb, "init", full)
    assert open_run(tmp_path / "cell") is None
    assert "no offline run either (no space left)" in caplog.text


class Server(http.server.ThreadingHTTPServer):
    """As much of W&B's server as a run needs to be content."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def vanish(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address) -> None:
        pass


class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(
            errors="replace"
        )
        self.server.asked.append(f"{self.path} {text}")
        content: dict[str, object] = {}
        if self.path == "/graphql":
            content = {"data": self.data(json.loads(text))}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST

    def data(self, asked) -> dict[str, object]:
        given = asked["variables"]
        if "upsertBucket" in asked["query"]:
            project = {"id": "cA==", "name": "hideseek", "entity": {"id": "ZQ==", "name": "me"}}
            bucket = {"id": "aQ==", "name": given["name"], "displayName": "n", "config": "{}",
                      "historyLineCount": 0, "project": project}  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in asked["query"]:
            files = [{"name": f, "uploadUrl": f"{self.server.url}/{f}"} for f in given["files"]]
            return {"createRunFiles": {"runID": "aQ==", "uploadHeaders": [], "files": files}}
        return {}

    def log_message(self, *_) -> None:
        pass


KEY = "k" * 40


@pytest.fixture
def server(no_key, monkeypatch):
    made = Server()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", made.url)
    yield made
    made.vanish()


def test_with_a_key_the_run_is_online_and_marked_as_uploaded(server, tmp_path):
    folder = tmp_path / "cell"
    logger = open_run(folder)
    logger.log_metrics({"train/loss": 0.5})
    tracking.close(logger, {"accuracy": 1.0})
    path = run_file(folder, "run")
    assert path.with_suffix(".wandb.synced").exists()
    assert any("test/accuracy" in asked for asked in server.asked)
    text = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert KEY.encode() not in text


def test_a_network_that_dies_in_mid_run_costs_a_bounded_wait(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 2)
    folder = tmp_path / "cell"
    logger = open_run(folder)
    logger.log_metrics({"train/loss": 0.5})
    server.vanish()
    started = time.monotonic()
    fit(logger, 2)
    assert time.monotonic() - started < 5
    started = time.monotonic()
    tracking.close(logger, {"accuracy": 0.75})
    assert time.monotonic() - started < 12
    (warned,) = ours(caplog, "WARNING")
    assert warned.startswith("W&B: not uploaded (")
    assert "hideseek sync" in warned
    records = whole_run(run_file(folder, "run"))
    assert merged(records, "summary")["test/accuracy"] == 0.75
    assert not list(folder.rglob("*.synced"))


def test_without_a_network_the_run_is_offline_after_a_bounded_wait(
    server, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(wandb_run, "INIT_SECONDS", 2)
    server.vanish()
    folder = tmp_path / "cell"
    started = time.monotonic()
    with caplog.at_level("INFO", "hideseek.wandb_run"):
        logger = open_run(folder)
    assert time.monotonic() - started < 10
    (line,) = ours(caplog)
    assert "offline in" in line and "\n" not in line
    tracking.close(logger, {"accuracy": 1.0})
    assert merged(whole_run(run_file(folder)), "summary")["test/accuracy"] == 1.0
    assert not list((folder / "wandb").glob("run-*"))


def test_a_malformed_key_is_no_reason_to_stop(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    logger = open_run(tmp_path / "cell")
    assert logger.run.offline
    tracking.close(logger, {"accuracy": 1.0})


def test_an_empty_variable_is_none(no_key, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "")
    tracking.close(open_run(tmp_path / "cell"), {"accuracy": 1.0})
    assert merged(whole_run(run_file(tmp_path / "cell")), "summary")["test/accuracy"] == 1.0


def test_an_upload_with_errors_is_not_marked(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "run-x.wandb").touch()
    (tmp_path / "logs" / "debug-internal.log").write_text('{"level":"ERROR+4","msg":"fatal"}\n')
    wandb_run._mark_uploaded(tmp_path)
    assert not list(tmp_path.glob("*.synced"))
    (tmp_path / "logs" / "debug-internal.log").write_text('{"level":"INFO"}\n')
    wandb_run._mark_uploaded(tmp_path)
    assert (tmp_path / "run-x.wandb.synced").exists()


def test_a_key_is_found_in_the_environment_and_in_netrc(no_key, tmp_path, monkeypatch):
    assert not wandb_run.has_wandb_key()
    netrc = no_key / ".netrc"
    netrc.write_text("machine example.org login a password b\n")
    assert not wandb_run.has_wandb_key()
    netrc.write_bytes(b"\xff\xfe\n")
    assert not wandb_run.has_wandb_key()
    netrc.write_text("machine api.wandb.ai login user password k\n")
    assert wandb_run.has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.hospital.org")
    assert not wandb_run.has_wandb_key()
    netrc.write_text("machine wandb.hospital.org login user password k\n")
    assert wandb_run.has_wandb_key()
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert not wandb_run.has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert not wandb_run.has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert wandb_run.has_wandb_key()


def test_pictures_of_patients_can_be_kept_here(no_key, tmp_path):
    folder = finished_cell(tmp_path / "cell")
    logger = open_run(folder, images=False)
    wandb_run.log_outcome(logger, ["a", "b", "c"], {"gradcam": folder / "shown.png"})
    tracking.close(logger, {"accuracy": 0.6})
    assert not list((folder / "wandb").rglob("*.png"))
    assert list((folder / "wandb").rglob("*confusion_table*"))
