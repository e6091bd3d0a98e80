from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.sampler import Draw, EvaluationSampler, TrainingSampler, draw_weights
from hideseek.errors import UserError

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)
ROWS = np.arange(100) * 3 + 1


def share(weights: np.ndarray, label: int) -> float:
    return float(weights[label == LABELS].sum())


def test_balanced_weights() -> None:
    weights = draw_weights(LABELS, "balanced")
    assert [share(weights, label) for label in range(3)] == pytest.approx([1 / 3] * 3)
    assert len(np.unique(weights[LABELS == 1])) == 1


def test_covidnet_weights() -> None:
    weights = draw_weights(LABELS, "covidnet")
    shares = [share(weights, label) for label in range(3)]
    assert shares == pytest.approx([0.75 * 60 / 90, 0.75 * 30 / 90, 0.25])


def test_other_weights() -> None:
    assert draw_weights(LABELS, "natural") == pytest.approx(np.full(100, 0.01))
    for sampling in ("balanced", "covidnet"):
        assert draw_weights(np.array([2, 2]), sampling) == pytest.approx([0.5, 0.5])
        gap = draw_weights(np.array([0, 0, 2]), sampling)
        assert gap.sum() == pytest.approx(1)
    with pytest.raises(UserError, match="'even' is unknown; known are balanced"):
        draw_weights(LABELS, "even")


@pytest.mark.parametrize(
    ("sampling", "expected"), [("balanced", [1 / 3] * 3), ("covidnet", [0.5, 0.25, 0.25])]
)
@pytest.mark.parametrize("ranks", [1, 2])
def test_draws_follow_the_weights(sampling: str, expected: list[float], ranks: int) -> None:
    weights = draw_weights(LABELS, sampling)
    drawn: Counter[int] = Counter()
    for rank in range(ranks):
        sampler = TrainingSampler(ROWS, weights, 10, seed=3, rank=rank, ranks=ranks)
        for epoch in range(60):
            sampler.set_epoch(epoch)
            drawn.update(int(LABELS[(draw.row - 1) // 3]) for draw in sampler)
    assert drawn.total() == 6000
    for label in range(3):
        # Four standard deviations of 6000 draws are 0.024 at most.
        assert drawn[label] / 6000 == pytest.approx(expected[label], abs=0.025)


def test_balanced_draws_reach_most_images() -> None:
    sampler = TrainingSampler(ROWS, draw_weights(LABELS, "balanced"), 10, seed=0)
    assert len({draw.row for draw in sampler}) > 40


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_natural_is_a_permutation_filled_from_its_beginning(n: int, batch: int, seed: int) -> None:
    rows = ROWS[:n]
    drawn = [draw.row for draw in TrainingSampler(rows, None, batch, seed)]
    assert sorted(drawn[:n]) == rows.tolist()
    assert len(drawn) == -(-n // batch) * batch
    assert drawn == [drawn[place % n] for place in range(len(drawn))]


@pytest.mark.parametrize("weights", [None, draw_weights(LABELS, "balanced")])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_interleave_to_the_order_of_one(weights: np.ndarray | None, ranks: int) -> None:
    batch = 12
    alone = TrainingSampler(ROWS, weights, batch, seed=5)
    shards = [TrainingSampler(ROWS, weights, batch, 5, rank, ranks) for rank in range(ranks)]
    for epoch in (0, 1):
        alone.set_epoch(epoch)
        for shard in shards:
            shard.set_epoch(epoch)
        order = list(alone)
        parts = [list(shard) for shard in shards]
        assert {len(part) for part in parts} == {len(shard) for shard in shards}
        assert [draw for turn in zip(*parts, strict=True) for draw in turn] == order
        assert [draw.position for draw in order] == list(range(len(alone)))
        own = batch // ranks
        for step in range(len(order) // batch):
            of_all = {draw for part in parts for draw in part[step * own : (step + 1) * own]}
            assert of_all == set(order[step * batch : (step + 1) * batch])


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def rows(seed: int, epoch: int) -> list[Draw]:
        sampler = TrainingSampler(ROWS, None, 10, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert rows(0, 0) == rows(0, 0)
    orders = [tuple(draw.row for draw in rows(*of)) for of in ((0, 0), (0, 1), (1, 0), (0, 2))]
    assert len(set(orders)) == 4
    assert {draw.epoch for draw in rows(0, 2)} == {2}


def test_training_refusals() -> None:
    with pytest.raises(UserError, match="the training set is empty"):
        TrainingSampler(ROWS[:0], None, 4, 0)
    with pytest.raises(UserError, match="batch_size=9 cannot be shared by 2 processes"):
        TrainingSampler(ROWS, None, 9, 0, ranks=2)


@given(st.integers(0, 50), st.integers(1, 8))
def test_evaluation_counts_each_image_once(n: int, ranks: int) -> None:
    shards = [list(EvaluationSampler(ROWS[:n], rank, ranks)) for rank in range(ranks)]
    assert {len(shard) for shard in shards} == {len(EvaluationSampler(ROWS[:n], 0, ranks))}
    counted = [draw.row for turn in zip(*shards, strict=True) for draw in turn if draw.counted]
    assert counted == ROWS[:n].tolist()
    surplus = sum(not draw.counted for shard in shards for draw in shard)
    assert surplus < ranks
