from __future__ import annotations

import pytest

from hideseek.data.sources.labels import paper_class


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
    ],
)
def test_classes(finding: str, label: str) -> None:
    assert paper_class(finding) == label
