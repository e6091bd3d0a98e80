"""Findings of the public sources to the classes of the paper's task."""

from __future__ import annotations

NORMAL, PNEUMONIA, COVID19 = "normal", "pneumonia", "covid19"
