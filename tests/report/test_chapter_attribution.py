from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

import hideseek.report.cell_maps as cell_maps_module
from hideseek.report.cell_maps import cell_maps
from hideseek.report.chapters.attribution import chapter
from tests.report.chapter_evidence import evidence_of
from tests.report.finished_cells import HOSTILE, all_text, write_finished

CONTENT = {
    "method": "Grad-CAM", "images": 4, "of": 300, "drawn": "balanced by class, seed 0",
    "seeds": "lowest of each representation", "left_out": {},
    "label_gate": {"rule": "", "passed": None, "missing": ["tiny"], "command": "python train.py"},
}  # fmt: skip


def images_of(enrichment, model="tiny", representation="original"):
    return pl.DataFrame(
        [
            {"model": model, "representation": representation, "folder": "f", "image_id": str(i),
             "lung_enrichment": value, "border_share": 0.2, "border_area": 0.19,
             "artefact_share": None, "artefact_area": 0.01}
            for i, value in enumerate(enrichment)
        ],
        infer_schema_length=None,
        schema_overrides={"artefact_share": pl.Float64},
    )  # fmt: skip


def gate(representation, passed, above, informative):
    return {"model": "tiny", "representation": representation, "seed": 0, "folder": representation,
            "enrichment": 1.5, "low": 1.4, "high": 1.6, "far": 0.5, "far_random": 0.1,
            "lowered_low": 0.3, "auc": 0.9, "auc_low": 0.8, "passed": passed,
            "above_chance": above, "informative": informative}  # fmt: skip


def evidence(tmp_path, content=None, cells=(), **tables):
    given = {
        "attribution_images": images_of([1.0, 2.0, 3.0]),
        "attribution_gates": pl.DataFrame(
            [gate("original", True, True, True), gate("silhouette", True, False, False),
             gate("lungs_removed", False, True, False), gate("lungs_framed", True, True, False)]
        ),
        "attribution": pl.DataFrame(
            {"model": "tiny", "representation": "original", "seed": 0, "folder": "f",
             "group": ["label", "all", "all"],
             "measure": ["lung_enrichment", "lung_enrichment", "border_area"], "images": 3,
             "mean": [9.0, 2.0, 0.19], "low": [9.0, 1.5, 0.19], "high": [9.0, 2.5, 0.19]}
        ),
    } | tables  # fmt: skip
    sections = {"attribution": CONTENT if content is None else content}
    return evidence_of(given, sweep=str(tmp_path), cells=cells, sections=sections)


def test_numbers_gates_and_words(tmp_path):
    made = chapter(evidence(tmp_path))
    assert made.absent == ""
    text = "\n".join(made.sentences)
    assert "on 4 of 300 test images" in text
    assert "holds for 1 of 4 networks" in text
    assert "silhouette (not above chance)" in text
    assert "lungs_removed (no farther than random weights)" in text
    assert "lungs_framed (no other than with shuffled labels)" in text
    assert "was not run for tiny: too few were trained" in text
    assert "python train.py" in text
    gates, means = made.tables
    assert gates.frame["informative"].to_list() == ["yes", "no", "no", "no"]
    assert means.frame.height == 1
    row = means.frame.to_dicts()[0]
    assert (row["lung_enrichment"], row["lung_enrichment_low"], row["border_area"]) == (
        2.0, 1.5, 0.19,
    )  # fmt: skip
    assert "Median lung enrichment: original 2.00." in made.pictures[0].alternative


@pytest.mark.parametrize(("passed", "said"), [(True, "passed"), (False, "Not all passed")])
def test_the_gate_of_shuffled_labels(tmp_path, passed, said):
    content = CONTENT | {"label_gate": {"passed": passed, "missing": [], "command": ""}}
    labels = pl.DataFrame({"folder": ["original"], "passed": [passed], "difference": [0.3],
                           "enrichment_shuffled": [1.2]})  # fmt: skip
    made = chapter(evidence(tmp_path, content, attribution_label_gates=labels))
    assert any(said in text for text in made.sentences)
    frame = made.tables[0].frame
    assert frame["labels_passed"].to_list() == ["yes" if passed else "no", None, None, None]
    assert frame["enrichment_shuffled"].to_list() == [1.2, None, None, None]


def test_an_audit_of_an_older_version_has_no_gate_of_labels(tmp_path):
    content = {key: value for key, value in CONTENT.items() if key != "label_gate"}
    made = chapter(evidence(tmp_path, content))
    assert any("no gate of networks trained on shuffled" in text for text in made.sentences)


def test_reasons_of_what_was_left_out_name_no_place(tmp_path):
    reason = "/home/jane doe/cache/x.h5: no such cache"
    made = chapter(evidence(tmp_path, CONTENT | {"left_out": {"cell": reason}}))
    assert "Not explained: cell: x.h5: no such cache" in made.sentences


def test_without_the_part_the_cells_pictures_are_there(tmp_path):
    folder = write_finished(tmp_path)
    Image.new("RGB", (1200, 300), (10, 200, 30)).save(folder / "attribution.png")
    made = chapter(evidence_of(sweep=str(tmp_path), cells=[folder]))
    assert made.absent.endswith(f"hideseek audit {tmp_path} parts=attribution")
    (shown,) = made.pictures
    assert (shown.model, shown.representation) == ("resnet50", "original")
    assert shown.png[16:24] == (900).to_bytes(4, "big") + (225).to_bytes(4, "big")


def test_damaged_pictures_are_skipped_with_a_sentence(tmp_path):
    cells = [write_finished(tmp_path, seed=seed) for seed in range(3)]
    Image.new("RGB", (40, 40)).save(cells[0] / "attribution.png")
    whole = (cells[0] / "attribution.png").read_bytes()
    (cells[1] / "attribution.png").write_bytes(whole[: len(whole) // 2])
    (cells[2] / "attribution.png").write_bytes(b"GIF89a")
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "figure3.png").write_bytes(b"")
    made = chapter(evidence(tmp_path, cells=cells))
    assert [picture.name for picture in made.pictures[1:]] == ["maps_1_resnet50_original_s0"]
    assert sum(text.startswith("Not shown") for text in made.sentences) == 3


def test_many_pictures_share_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_maps_module, "ALL_MAPS", 100_000)
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    cells = [write_finished(tmp_path, seed=seed) for seed in range(3)]
    for cell in cells:
        Image.fromarray(noise).save(cell / "attribution.png")
    problems: list[str] = []
    found = cell_maps(evidence_of(sweep=str(tmp_path), cells=cells), problems)
    # Two pictures of at least `LEAST_BYTES` fit; noise fits in the smallest width only.
    assert len(found) == 2 and problems == ["Of 3 cells' pictures, the first 2 are shown."]
    assert all(Image.open(io.BytesIO(each.png)).width == 360 for each in found)


def test_hostile_names_stay_text(tmp_path):
    folder = write_finished(tmp_path, HOSTILE, "../../x", name="cell")
    Image.new("RGB", (40, 40)).save(folder / "attribution.png")
    images = images_of([1.0, None], HOSTILE, "$\\frac")
    made = chapter(evidence(tmp_path, cells=[folder], attribution_images=images))
    assert "<script" not in made.pictures[0].svg
    assert all(picture.name.replace("_", "").isalnum() for picture in made.pictures)
    assert HOSTILE in all_text(made)


@pytest.mark.parametrize("content", [{"label_gate": 3, "left_out": [1]}, {"images": {"a": 1}}])
def test_odd_content_does_not_stop_the_report(tmp_path, content):
    assert chapter(evidence(tmp_path, content)).sentences


def test_empty_tables(tmp_path):
    empty = dict.fromkeys(
        ("attribution_images", "attribution_gates", "attribution"), pl.DataFrame()
    )
    made = chapter(evidence(tmp_path, **empty))
    assert made.tables == () and made.pictures == ()
