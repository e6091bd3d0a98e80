from __future__ import annotations

from pathlib import Path

import pytest

from hideseek.data.sources.labels import paper_class
from hideseek.data.sources.listing import read_rows


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid19"),
        ("COVID-19, ARDS", "covid19"),
        ("Pneumonia/Viral/COVID-19", "covid19"),
        ("Pneumonia", "pneumonia"),
        ("SARS", "pneumonia"),
        ("Pneumocystis", "pneumonia"),
        ("Pneumonia/Fungal/Pneumocystis", "pneumonia"),
        ("Mycoplasma Bacterial Pneumonia", "pneumonia"),
        ("E.Coli", "pneumonia"),
        ("No Finding", "normal"),
        ("No finding", "normal"),
        ("Normal", "normal"),
        ("ARDS", ""),
        ("Tuberculosis", ""),
        ("todo", ""),
        ("Unknown", ""),
        ("", ""),
        ("No Finding, Effusion", ""),
        ("COVID-19 negative", ""),
        ("No Pneumonia", ""),
        ("Pneumonia/Viral/SARS", "pneumonia"),
        ("Pneumonia/Viral/MERS-CoV", "pneumonia"),
        ("MERS", ""),
        ("Pneumonia/Aspiration", "pneumonia"),
        ("Viral Pneumonia", "pneumonia"),
        ("covid19", "covid19"),
        (" covid-19  pneumonia ", "covid19"),
        ("Lung Opacity", ""),
        *((name, "pneumonia") for name in (
            "Streptococcus", "Klebsiella", "Legionella", "Mycoplasma", "Chlamydophila",
            "Bacterial", "Influenza", "Varicella", "Lipoid")),
    ],
)  # fmt: skip
def test_classes(finding: str, label: str) -> None:
    assert paper_class(finding) == label
    assert paper_class(f" {finding.upper()} ") == label


@pytest.mark.parametrize("name", [
    "2020-03-28", "2020-03_17-columns-no-modality", "2020-04-18", "2020-08-04"])  # fmt: skip
def test_findings_without_a_class_are_few(pack: Path, name: str) -> None:
    rows = read_rows(pack / f"covid-chestxray-dataset-metadata-versions/metadata_{name}.csv")
    findings = {row["finding"] for row in rows}
    assert {finding for finding in findings if not paper_class(finding)} <= {
        *("ARDS", "Unknown", "todo")
    }
