"""Findings of the public sources to the classes of the paper's task.

What contains COVID-19 is covid19, a named pneumonia of another origin is pneumonia, "No Finding" is
normal, and everything else has no class; readers of tables with findings (Cohen, Figure 1,
Actmed) map them here. COVIDx draws the line elsewhere (the finding is what follows the last "/" or
precedes the first comma, MERS counts as pneumonia, Pneumocystis does not), and its own lists carry
its labels.
"""

from __future__ import annotations

import re

NORMAL, PNEUMONIA, COVID19 = "normal", "pneumonia", "covid19"

PNEUMONIAS = {
    *("pneumonia", "viral pneumonia", "bacterial pneumonia", "mycoplasma bacterial pneumonia"),
    *("streptococcus", "pneumocystis", "klebsiella", "legionella", "mycoplasma", "chlamydophila"),
    *("e.coli", "bacterial", "sars", "influenza", "varicella", "lipoid"),
}
NORMALS = {"no finding", "normal"}
COVID = re.compile(r"covid[- ]?(19)?( pneumonia)?")


def paper_class(finding: str) -> str:
    """Map a finding to "normal", "pneumonia", "covid19" or "".

    A path below Pneumonia is a pneumonia whatever its last part, so a hierarchical table may give a
    class to what a flat one names by its germ alone ("Pneumonia/Viral/MERS-CoV", "MERS-CoV").

    Args:
        finding: as a source spells it: one, several separated by commas, bars or semicolons, or a
            path such as "Pneumonia/Viral/COVID-19".

    Returns:
        The class; covid19 goes before pneumonia, and normal is only what has no other finding.
        Words that are not known, negations among them, have no class.
    """
    parts = {" ".join(part.lower().split()) for part in re.split(r"[,|;/]", finding)}
    if any(COVID.fullmatch(part) for part in parts):
        return COVID19
    if parts & PNEUMONIAS:
        return PNEUMONIA
    return NORMAL if parts <= NORMALS else ""
