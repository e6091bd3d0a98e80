from __future__ import annotations

import io
import math

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from hideseek.checkpoint import NetworkCard
from hideseek.errors import UserError
from hideseek.models.tiny import Tiny
from hideseek.tasks.evaluate import (
    COUNTS,
    IDENTITY,
    measure_masks,
    metrics_of_predictions,
    predict_classes,
    table_2,
)

CLASSES = ("normal", "pneumonia", "covid19")
CARD = NetworkCard("classify", "tiny", "hideseek.models.tiny.Tiny", {}, 32, 3, "paper", CLASSES)


def table(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(count)],
            "patient_id": [f"p{k // 2}" for k in range(count)],
            "source": ["cohen" if k % 3 else "rsna" for k in range(count)],
            "split": ["test"] * count,
            "label": [CLASSES[k % 3] for k in range(count)],
            "mask_state": ["ok"] * count,
        }
    )


def items(rows):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return [{"image": images[row], "index": torch.tensor(row)} for row in rows]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Tiny(3, 3, 4).eval()


def test_predictions_are_probabilities_of_the_right_images(net):
    rows = [7, 2, 5, 0]
    found = predict_classes(net, CARD, DataLoader(items(rows), batch_size=3), table(10))
    scores = [f"p_{name}" for name in CLASSES]
    assert found.columns == [*IDENTITY, "prediction", *scores]
    assert found.select(IDENTITY).equals(table(10)[rows].select(IDENTITY))
    values = found.select(scores).to_numpy()
    assert values.dtype == np.float64
    assert np.allclose(values.sum(axis=1), 1, atol=1e-12)
    assert found["prediction"].to_list() == [CLASSES[k] for k in values.argmax(axis=1)]
    images = torch.stack([item["image"] for item in items(rows)]) / 255
    with torch.inference_mode():
        expected = net(images.expand(-1, 3, -1, -1)).double().softmax(1).numpy()
    assert np.allclose(values, expected, atol=1e-6)


def test_the_batch_size_does_not_matter(net):
    each = [
        predict_classes(net, CARD, DataLoader(items(range(10)), batch_size=size), table(10))
        for size in (1, 4, 10)
    ]
    for other in each[1:]:
        assert other.drop(pl.selectors.float()).equals(each[0].drop(pl.selectors.float()))
        assert np.allclose(
            other.select(pl.selectors.float()).to_numpy(),
            each[0].select(pl.selectors.float()).to_numpy(),
            atol=1e-6,
        )


def test_metrics_of_what_a_csv_file_holds():
    text = "image_id,label,prediction\n1,normal,normal\n2,normal,covid19\n3,covid19,covid19\n"
    found = metrics_of_predictions(pl.read_csv(io.StringIO(text), infer_schema=False), CLASSES)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["sens_normal"] == pytest.approx(1 / 2)
    assert found["ppv_covid19"] == pytest.approx(1 / 2)
    assert math.isnan(found["sens_pneumonia"])
    assert found["n"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,normal,normal\n1,normal,normal\n", "twice"),
        ("1,normal,flu\n", "flu"),
        ("1,flu,normal\n", "flu"),
        ("1,normal,\n", "None"),
    ],
)
def test_damaged_predictions_are_refused(text, message):
    predictions = pl.read_csv(io.StringIO("image_id,label,prediction\n" + text), infer_schema=False)
    with pytest.raises(UserError, match=message) as caught:
        metrics_of_predictions(predictions, CLASSES)
    assert "\n" not in str(caught.value)


class Bright(nn.Module):
    """Calls bright pixels lung."""

    def forward(self, image):
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def test_masks_are_measured_image_by_image_and_averaged_by_source():
    # Image 0 (rsna): all right. Image 1 (cohen): half of the lung. Image 2 (cohen): no lung at all.
    found = torch.tensor([[[1, 0], [0, 0]], [[1, 0], [0, 0]], [[0, 0], [0, 0]]])
    true = torch.tensor([[[1, 0], [0, 0]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]]).bool()
    items = [
        {
            "image": (found[k] * 255).to(torch.uint8).unsqueeze(0),
            "mask": true[k],
            "index": torch.tensor(k),
        }
        for k in range(3)
    ]
    card = NetworkCard("segment", "x", "x", {}, 2, 1, "paper", ("background", "lung"))
    per_image = measure_masks(Bright().eval(), card, DataLoader(items, batch_size=2), table(3))
    assert per_image["image_id"].to_list() == ["i0", "i1", "i2"]
    assert per_image["source"].to_list() == ["rsna", "cohen", "cohen"]
    assert per_image["recall_lung"].to_list()[:2] == [1, 0.5]
    assert per_image["recall_lung"][2] is None
    assert per_image.select(COUNTS).rows() == [(3, 0, 0, 1), (2, 0, 1, 1), (4, 0, 0, 0)]
    assert per_image["accuracy"].to_list() == [1, 0.75, 1]
    means = table_2(per_image)
    assert means["source"].to_list() == ["cohen", "rsna", "all"]
    assert means["images"].to_list() == [2, 1, 3]
    assert means["recall_lung"].to_list() == pytest.approx([0.5, 1, 0.75])
    assert means["accuracy"].to_list() == pytest.approx([0.875, 1, 2.75 / 3])
    assert means["precision_background"].to_list() == pytest.approx(
        [(2 / 3 + 1) / 2, 1, (2 / 3 + 2) / 3]
    )
    # On disk what is not defined is empty; the sweep's results read it so.
    assert "nan" not in per_image.write_csv().lower()
    written = pl.read_csv(io.StringIO(per_image.write_csv()), infer_schema=False)
    numbers = written.with_columns(pl.col("^.*_(background|lung)|accuracy$").cast(pl.Float64))
    assert table_2(numbers).equals(means)
