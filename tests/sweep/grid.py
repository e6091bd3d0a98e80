"""A small sweep as Hydra hands it to a launcher."""

from __future__ import annotations

COMMON = ["paths.multirun=m", "sweep=grid", "logger=csv"]
# As Hydra's sweeper does, what all cells share is part of each.
JOBS = [
    [*COMMON, "model=tiny", "roi=original", "seed=0"],
    [*COMMON, "model=tiny", "roi=lungs_removed", "seed=0"],
    [*COMMON, "model=alexnet", "roi=original", "seed=1"],
]
FOLDERS = ["tiny-original-s0", "tiny-lungs_removed-s0", "alexnet-original-s1"]
