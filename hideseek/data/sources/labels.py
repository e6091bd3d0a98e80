"""Findings of the public sources to the classes of the paper's task.

The rule of `docs/sources.md`: what contains COVID-19 is covid19, what is a pneumonia of another
origin is pneumonia, "No Finding" is normal, and everything else has no class. COVIDx draws the line
elsewhere; its own lists carry its labels.
"""

from __future__ import annotations

import re

NORMAL, PNEUMONIA, COVID19 = "normal", "pneumonia", "covid19"

PNEUMONIAS = {
    *("pneumonia", "viral pneumonia", "bacterial pneumonia", "streptococcus", "pneumocystis"),
    *("klebsiella", "legionella", "mycoplasma", "chlamydophila", "e.coli", "bacterial", "sars"),
    *("influenza", "varicella", "lipoid", "lung opacity"),
}
NORMALS = {"no finding", "normal"}


def paper_class(finding: str) -> str:
    """Map a finding to "normal", "pneumonia", "covid19" or "".

    Args:
        finding: as a source spells it: one, several separated by commas or bars, or a path such as
            "Pneumonia/Viral/COVID-19".
    """
    parts = {part.strip().lower() for part in re.split(r"[,|;/]", finding)}
    if any(part.startswith("covid") for part in parts):
        return COVID19
    if parts & PNEUMONIAS or any(part.endswith(" pneumonia") for part in parts):
        return PNEUMONIA
    return NORMAL if parts and parts <= NORMALS else ""
