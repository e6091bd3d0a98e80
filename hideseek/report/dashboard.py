"""A sweep's W&B report as code: the models x representations comparison.

All but `save` builds objects and can be looked at without a server. W&B has no panel that is a heat
map of two configuration keys over several runs (its custom charts draw one run's table each, with a
drawing stored on the server), so the heat map is a table in Markdown, which shows everywhere and
holds the numbers of results.csv, computed from the predictions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from hideseek.errors import UserError
from hideseek.wandb_run import has_wandb_key

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import PanelGrid, Report, Runset

SHADES = "░▒▓█"
"""Of a fraction from 0 to 1, in quarters."""

LONGEST_TITLE = 128
TIMEOUT_SECONDS = 20
MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~&$!])")


def dashboard(
    sweep: Path,
    entity: str | None = None,
    project: str = "hideseek",
    upload: Callable[[Report, str | None], str] | None = None,
) -> None:
    """Build the report of a sweep, write it to dashboard.json, and save it where there is a key.

    Args:
        sweep: folder of the sweep, with its results.csv.
        entity: W&B user or team; the key's own by default.
        project: where the runs are.
        upload: saves a report and returns its address; by default `save`.

    Raises:
        UserError: no results, or the extra is not installed.
    """
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise UserError("needs the extra: pip install 'hideseek[dashboard]'") from None
    results = read_results(sweep / "results.csv")
    report = build_report(results, sweep.resolve().name, panel_names(sweep), entity, project)
    path = sweep / "dashboard.json"
    path.write_text(json.dumps(as_json(report), indent=2) + "\n")
    if not has_wandb_key():
        print(f"not uploaded, no W&B key (`wandb login` makes one): {path}")
        return
    try:
        address = (upload or save)(report, entity)
    except Exception as error:  # W&B raises anything where there is no network
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        print(f"not uploaded ({reason}): {path}")
    else:
        print(f"dashboard: {address}")


def save(report: Report, entity: str | None) -> str:
    """Save a report on W&B's server: the one function here that needs it.

    Args:
        report: to save.
        entity: of the report; None for the key's own.

    Returns:
        The report's address.
    """
    import wandb

    report.entity = entity or wandb.Api(timeout=TIMEOUT_SECONDS).default_entity or ""
    return str(report.save().url)


def read_results(path: Path) -> pl.DataFrame:
    """Read a sweep's results.csv.

    Args:
        path: of the file.

    Returns:
        Its rows; at least `model`, `roi` and `accuracy`.

    Raises:
        UserError: it is absent, damaged or empty.
    """
    try:
        results = pl.read_csv(path, infer_schema_length=None, glob=False)
        numbers = [name for name in results.columns if _is_metric(name)]
        texts = pl.col("model", "roi").cast(pl.String)
        results = results.with_columns(texts, pl.col(numbers).cast(pl.Float64))
        if "labels" in results.columns:  # a control of the maps, not a result
            results = results.filter(pl.col("labels") != "shuffled")
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: no results ({reason}); run the sweep to its end") from None
    if results.is_empty() or "accuracy" not in results.columns:
        raise UserError(f"{path}: no finished cell; run the sweep to its end")
    return results


def panel_names(sweep: Path) -> list[str]:
    """Name the pictures that the cells logged as `panels/NAME`.

    Args:
        sweep: folder of the sweep.
    """
    pictures = sweep.glob("*/wandb/*run-*/files/media/images/panels/*.png")
    # W&B appends a step and a digest: NAME_12_0a1b2c.png.
    return sorted({path.stem.rsplit("_", 2)[0] for path in pictures})


def build_report(
    results: pl.DataFrame, sweep: str, panels: Sequence[str], entity: str | None, project: str
) -> Report:
    """Build the report of a sweep.

    Args:
        results: as `read_results` returns it.
        sweep: the runs' group.
        panels: names of the pictures; none for no pictures.
        entity: W&B user or team; None where not known yet.
        project: where the runs are.
    """
    import wandb_workspaces.reports.v2 as wr

    most = max(results.group_by("model", "roi").len().get_column("len").to_list())
    about = "One cell each" if most == 1 else f"Mean over the seeds, up to {most} cells each"
    blocks: list[Any] = [
        wr.H1("Accuracy: model x representation"),
        wr.MarkdownBlock(f"{about}, test set; {SHADES} are quarters from 0 to 1."),
        wr.MarkdownBlock(heat_map(results)),
        wr.H1("Validation curves by representation"),
        _curves("all models", runset(sweep)),
        *(
            _curves(model, runset(sweep, model))
            for model in results["model"].unique(maintain_order=True)
        ),
    ]
    classes = [name for name in results.columns if name.startswith(("sens_", "ppv_"))]
    if classes:
        table = wr.MarkdownBlock(metric_table(results, classes))
        blocks += [wr.H1("Sensitivity and positive predictive value by class"), table]
    if panels:
        keys = [f"panels/{name}" for name in panels]
        browser = wr.MediaBrowser(
            title="panels", media_keys=keys, num_columns=5, gallery_axis="run", layout=_wide(16)
        )
        grid = wr.PanelGrid(runsets=[runset(sweep)], panels=[browser])
        blocks += [wr.H1("What was shown, and where the network looked"), grid]
    return wr.Report(
        project=project,
        entity=entity or "",
        title=f"hideseek: {sweep}"[:LONGEST_TITLE],
        description="Made by `hideseek dashboard`; for research, not for diagnosis.",
        blocks=blocks,
        width="fluid",
    )


def runset(sweep: str, model: str | None = None) -> Runset:
    """Choose the runs of a sweep.

    Args:
        sweep: the runs' group.
        model: only the runs of this one; None for all.
    """
    import wandb_workspaces.reports.v2 as wr

    chosen = f'Metric("Group") == {_literal(sweep)}'
    if model is not None:
        chosen += f' and Metric("Tags") in [{_literal(model)}]'
    # Without entity and project it is the report's project; with them, building asks the server.
    return wr.Runset(name=model or "all models", filters=chosen)


def heat_map(results: pl.DataFrame) -> str:
    """Lay out the accuracies as a table in Markdown.

    Args:
        results: one row per cell.

    Returns:
        A row per model, a column per representation, both in the order of `results`; the mean over
        seeds with a shade, "n/a" where undefined, "-" where no cell is finished.
    """
    models, rois = (list(results[key].unique(maintain_order=True)) for key in ("model", "roi"))
    means = results.group_by("model", "roi").agg(pl.col("accuracy").mean())
    found = {(model, roi): mean for model, roi, mean in means.iter_rows()}
    rows = [
        [model, *(_shaded(found[model, roi]) if (model, roi) in found else "-" for roi in rois)]
        for model in models
    ]
    return _table(["model", *rois], rows)


def metric_table(results: pl.DataFrame, columns: Sequence[str]) -> str:
    """Lay out metrics as a table in Markdown.

    Args:
        results: one row per cell.
        columns: names of metrics.

    Returns:
        A row per model and representation, in the order of `results`: means over seeds.
    """
    groups = results.group_by("model", "roi", maintain_order=True)
    means = groups.agg(pl.col(columns).mean())
    rows = [[model, roi, *map(_number, values)] for model, roi, *values in means.iter_rows()]
    return _table(["model", "roi", *columns], rows)


def as_json(report: Report) -> dict[str, Any]:
    """Give a report as W&B's server would get it: built-in values."""
    text = report._to_model().model_dump_json(by_alias=True, exclude_none=True)
    content: dict[str, Any] = json.loads(text)
    return content


def _curves(title: str, runs: Runset) -> PanelGrid:
    import wandb_workspaces.reports.v2 as wr

    panels = [
        wr.LinePlot(
            title=f"{metric}, {title}",
            x="epoch",
            y=[metric],
            groupby=wr.Config("roi_name"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            aggregate=True,
            layout=wr.Layout(x=12 * place, w=12, h=8),
        )
        for place, metric in enumerate(("val/accuracy", "val/loss"))
    ]
    return wr.PanelGrid(runsets=[runs], panels=panels)


def _wide(height: int) -> Any:  # noqa: ANN401
    import wandb_workspaces.reports.v2 as wr

    return wr.Layout(w=24, h=height)


def _literal(text: str) -> str:
    # The library rewrites the comparison signs of a filter even inside its texts.
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub("[=<>]", lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _is_metric(name: str) -> bool:
    return name == "accuracy" or name.startswith(("sens_", "ppv_"))


def _number(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def _shaded(value: float | None) -> str:
    text = _number(value)
    if value is None or text == "n/a":
        return text
    return f"{SHADES[min(len(SHADES) - 1, int(value * len(SHADES)))]} {text}"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    plain = [[cell if cell == "---" else _escaped(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in plain)


def _escaped(text: str) -> str:
    return MARKUP.sub(r"\\\1", " ".join(text.split()))
