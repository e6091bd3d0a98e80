"""How long the patient-cluster bootstrap of the paper's grid takes: every metric of every cell.

    OMP_NUM_THREADS=1 python benchmarks/audit_bootstrap.py [cells] [images] [resamples]

The goal is 25 cells x 300 images x 10,000 resamples within 60 s on 2 cores.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from hideseek.audit.bootstrap import intervals, metric_draws, resample_counts

CLASSES = ("normal", "pneumonia", "covid19")


def main() -> None:
    """Print the seconds of each part and the largest memory."""
    cells, images, resamples = (int(word) for word in (sys.argv[1:4] or (25, 300, 10_000)))
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 3
    started = time.perf_counter()
    counts = resample_counts(labels, rng.integers(0, images, images), resamples, seed=0)
    drawn = time.perf_counter()
    for _ in range(cells):
        probabilities = rng.dirichlet(np.ones(3), images)
        draws = metric_draws(labels, probabilities.argmax(axis=1), probabilities, counts, CLASSES)
        intervals(draws)
    done = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{cells} cells x {images} images x {resamples:,} resamples, {len(draws)} metrics each")
    print(f"resamples {drawn - started:.2f} s, metrics and intervals {done - drawn:.2f} s "
          f"({(done - drawn) / cells:.3f} s a cell), at most {memory:.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
