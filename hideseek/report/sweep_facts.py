"""Sentences that a sweep can state of itself, by key: for reporting checklists and model cards.

A key is absent where the sweep cannot know. The checklists name the keys that answer their items.
"""

from __future__ import annotations

from collections.abc import Sequence

from hideseek.report.cell_files import CellFiles, read_cell, shown
from hideseek.report.chapters.provenance import limits
from hideseek.report.evidence import Evidence
from hideseek.report.result_facts import result_facts
from hideseek.report.scores import texts
from hideseek.report.split_facts import SplitFacts, split_facts
from hideseek.roi import REPRESENTATIONS

PAPER = "Sadre et al., Scientific Reports 11, 16075 (2021), doi 10.1038/s41598-021-95561-y"

INTENDED_USE = (
    "Research: to find out whether a network reads the lungs or something else. Not for diagnosis."
)


def sweep_facts(evidence: Evidence) -> dict[str, str]:
    """State what the files of an audited sweep show.

    Args:
        evidence: of the sweep.

    Returns:
        A sentence or a few by key, plain text.
    """
    cells = [read_cell(folder) for folder in evidence.cells]
    cells = [cell for cell in cells if not cell.shuffled] or cells
    facts = _general(evidence, cells)
    if cells:
        facts |= _data(cells) | network_facts(cells)
    known = split_facts(evidence)
    if known is not None:
        facts |= _splits(known)
    return {key: text for key, text in (facts | result_facts(evidence)).items() if text}


def values(cells: Sequence[CellFiles], *paths: str) -> str:
    """List the different values of the first of some settings that is there; "" if none is."""
    for path in paths:
        found = [cell.setting(path) for cell in cells]
        if known := [shown(value) for value in found if value is not None]:
            return ", ".join(dict.fromkeys(known))
    return ""


def _general(evidence: Evidence, cells: Sequence[CellFiles]) -> dict[str, str]:
    models = ", ".join(dict.fromkeys(shown(cell.model) for cell in cells))
    order = list(REPRESENTATIONS)
    seen = list(dict.fromkeys(shown(cell.representation) for cell in cells))
    seen.sort(key=lambda name: order.index(name) if name in order else len(order))
    classes = ", ".join(map(shown, texts(evidence.audit.get("classes"))))
    return {
        "technique": f"Deep learning: neural networks ({models}) classify chest "
        f"radiographs into {classes}.",
        "intended_use": INTENDED_USE,
        "goal": f"Audit of what networks read by the ROI hide-and-seek protocol ({PAPER}): the "
        "same networks are trained and tested with lungs shown and hidden.",
        "subsets": f"What the networks saw of each image: {', '.join(seen)}.",
        "predictors": "The pixels of one radiograph, a part of them hidden along a lung mask.",
        "output": "A probability for each class; the class with the greatest is predicted, without "
        "a threshold.",
        "ensembles": "None: each network is tested alone, and metrics are averaged over seeds.",
        "updating": "None: no network was changed after it was tested.",
        "prediction": "predictions.csv of each cell holds the label, the prediction and the "
        "probabilities of each test image; every number is computed from it.",
        "details": f"The protocol: {PAPER}. Settings of every cell: config.yaml; the audit: "
        "docs/audit.md of hideseek.",
        "availability": "Software: hideseek, licence Apache-2.0. Trained networks: checkpoints/"
        "best.ckpt of each cell. sweep.yaml repeats the sweep (hideseek rerun).",
        "limitations": " ".join(limits(cells)),
    }


def _data(cells: Sequence[CellFiles]) -> dict[str, str]:
    source = "data.source." if cells[0].setting("data.source.preprocess") is not None else "data."

    def of(name: str) -> str:
        return values(cells, f"{source}{name}") or "none"

    synthetic = "PhantomSource" in str(cells[0].setting("data._target_"))
    left_out = values(cells, f"{source}leave_out")
    size = values(cells, "data.phantom.size") if synthetic else of("size")
    facts = {
        "preprocessing": f"preprocess={of('preprocess')} (paper: the top 8 % cut off, then the "
        f"central square), windowing={of('windowing')}, {size} px, "
        f"normalize={values(cells, 'normalize')}.",
        "partitions": f"split_seed={of('split_seed')}, folds={of('folds')}, fold={of('fold')}"
        + (f", source left out of training: {left_out}" if left_out else "")
        + ". Splits that came with the data are not moved.",
        "imbalance": f"Images are drawn by sampling={values(cells, 'sampling')}, the loss weighs "
        f"the classes {values(cells, 'class_weights')}. Probabilities are not recalibrated.",
    }
    return facts | (DRAWN if synthetic else _found(of("masks.policy"), of("segmenter")))


DRAWN = {
    "exclusion": "None: the images are synthetic.",
    "missing": "Nothing is missing: the images are synthetic, with their masks.",
    "masks": "Lung masks are known exactly, for the images are synthetic.",
    "labels": "Synthetic radiographs: the class was chosen, and its sign was planted.",
}


def _found(policy: str, segmenter: str) -> dict[str, str]:
    return {
        "exclusion": "prepare leaves out what cannot be decoded or shows nothing, lateral views, "
        "copies, and pictures under two labels; problems.csv beside the cache lists each. Where a "
        f"mask is empty or implausible: {policy}.",
        "missing": f"An image without a lung mask gets one from a segmenter ({segmenter}). Where a "
        f"mask is empty or implausible: {policy}. Metadata that are absent stay empty. No pixel is "
        "imputed.",
        "masks": f"Lung masks came with the data or from a segmenter ({segmenter}); the chapter on "
        "lung masks tells whether they differ between the classes.",
        "labels": "Labels are those of the manifest.",
    }


def network_facts(cells: Sequence[CellFiles]) -> dict[str, str]:
    """State how networks were built and trained: all settings that occur among the cells."""
    models, weights = [], []
    for name in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == name]
        first = values(own, "model.net.weights")
        weights.append(f"{shown(name)} {'random' if first in ('', 'none') else first}")
        models.append(
            f"{shown(name)}: {values(own, 'model.net._target_')}, {values(own, 'image_size')} px, "
            f"{values(own, 'model.channels')} channels, optimizer "
            f"{values(own, 'model.optimizer._target_')}"
        )
    packages = cells[0].provenance.get("packages")
    known = packages.items() if isinstance(packages, dict) else ()
    versions = ", ".join(f"{shown(name)} {shown(version)}" for name, version in known)
    paper = values(cells, "selection")
    chosen = {"validation": "the validation images", "paper": "the test images, as in the paper"}
    return {
        "model": "; ".join(models) + ".",
        "software": f"hideseek {shown(cells[0].done.get('version'))}, Python "
        f"{shown(cells[0].provenance.get('python'))}, {versions}.",
        "initialisation": f"First weights: {', '.join(weights)}; seeds "
        f"{', '.join(str(seed) for seed in sorted({cell.seed for cell in cells}))}.",
        "training": f"epochs {values(cells, 'epochs')}, batches of {values(cells, 'batch_size')}, "
        f"learning rate {values(cells, 'learning_rate')} ({values(cells, 'schedule')}), "
        f"sampling {values(cells, 'sampling')}, class weights {values(cells, 'class_weights')}, "
        f"augmentation {values(cells, 'augment._target_') or 'none'}. The chapter on provenance "
        "sets them beside the paper's.",
        "selection": "The epoch with the best score on "
        f"{' or '.join(chosen.get(each, each) for each in paper.split(', '))}.",
    }


def _splits(known: SplitFacts) -> dict[str, str]:
    counts = f"Images and patients used: {known.counts()}."
    external = {
        True: "All test images are of sources that training never saw.",
        False: "Test and training images share sources, so that this is no external test.",
        None: "",
    }[known.external()]
    facts = {
        "counts": counts,
        "sources": f"By the column source, {known.sources()}.",
        "internal": counts,
        "external": external,
        "characteristics": f"By class, {known.classes()}. By source, {known.sources()}.",
        "classes": f"By class, {known.classes()}.",
    }
    if known.complete:
        shared = known.shared_patients()
        facts["disjoint"] = (
            "Patients: none is in two of the splits, counted by patient_id."
            if not shared
            else f"{shared} patients are in more than one of the splits, counted by patient_id."
        )
    return facts
