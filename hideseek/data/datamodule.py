"""Batches of one representation, from the cache to a LightningModule.

An image is hidden first and augmented after, as in the paper, where the hidden images lie on disk
and are augmented when read: what is hidden is gone before any interpolation could smear it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.trainer.states import TrainerFn, TrainerStatus
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hideseek.data.augment import SeededAugmentation
from hideseek.data.cache import Cache, training_rectangle
from hideseek.data.sampler import Draw, EvaluationSampler, TrainingSampler, draw_weights
from hideseek.data.shuffled import shuffled_labels
from hideseek.data.source import Source
from hideseek.data.splits import check_disjoint
from hideseek.errors import UserError
from hideseek.roi import fixed_box_out
from hideseek.seeds import image_key, stream

Representation = Callable[..., npt.NDArray[np.uint8]]


class RepresentationDataset(Dataset[dict[str, Tensor]]):
    """One representation of the images of a cache, drawn by `Draw`."""

    def __init__(
        self,
        cache: Cache,
        roi: Representation,
        image_size: int,
        augment: SeededAugmentation | None = None,
        seed: int = 0,
        with_mask: bool = False,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Describe the items.

        Args:
            cache: where images and masks come from.
            roi: (image, mask, seed=...) to image.
            image_size: side of the items; larger cached images are shrunk on read.
            augment: for training; None for evaluation.
            seed: of the cell.
            with_mask: also give the lung mask, changed like the image.
            labels: class number of each image of the cache; None for the cache's own.
        """
        self.cache, self.roi, self.image_size = cache, roi, image_size
        self.augment, self.seed, self.with_mask = augment, seed, with_mask
        self.labels = cache.labels() if labels is None else labels
        self.keys = [image_key(name) for name in cache.table.get_column("image_id")]

    def __len__(self) -> int:
        """Count the images of the cache, whatever their split."""
        return len(self.cache)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make one item: `image` uint8 [1, S, S], `label`, `index`, `counted`, perhaps `mask`."""
        image, mask = self._read(draw.row)
        # Random fills and boxes belong to the image: the same in every epoch and on every rank.
        picture = self.roi(image, mask, seed=stream(self.seed, "roi", self.keys[draw.row]))
        if self.augment is not None:
            seed = stream(self.seed, "augment", draw.epoch, draw.position)
            picture, changed = self.augment(picture, mask if self.with_mask else None, seed)
            mask = mask if changed is None else changed
        item = {
            "image": torch.from_numpy(np.ascontiguousarray(picture)).unsqueeze(0),
            "label": torch.tensor(self.labels[draw.row]),
            "index": torch.tensor(draw.row),
            "counted": torch.tensor(draw.counted),
        }
        if self.with_mask:
            item["mask"] = torch.from_numpy(np.ascontiguousarray(mask))
        return item

    def _read(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        image, mask = self.cache[index]
        if self.cache.recipe.size == self.image_size:
            return image, mask
        shape = (self.image_size, self.image_size)
        small = cv2.resize(mask.astype(np.uint8) * 255, shape, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA).astype(np.uint8)
        return image, small > 127


class CxrDataModule(LightningDataModule):
    """Training, validation and test batches of one representation.

    With `selection="validation"` the test images reach no loader that training uses, and their own
    loader is refused until training is over. With
    `selection="paper"` the validation images join the training set and the test images take their
    place, as in the paper's code, which keeps the epoch that is best on the test set. A segmenter's
    validation images stay out of its training even so, and are scored beside the test images: one
    training then shows both choices of the epoch.
    """

    def __init__(
        self,
        source: Source,
        roi: Representation,
        augment: SeededAugmentation | None,
        image_size: int,
        batch_size: int,
        seed: int,
        sampling: str = "balanced",
        selection: str = "validation",
        workers: int = 0,
        task: str = "classify",
        classes: Sequence[str] | None = None,
        shuffle_labels: bool = False,
    ) -> None:
        """Describe the batches.

        Args:
            source: provides the cache.
            roi: (image, mask, seed=...) to image.
            augment: of training images; None for none.
            image_size: side of the batches' images.
            batch_size: over all ranks together.
            seed: of the cell.
            sampling: one of `hideseek.data.sampler.SAMPLINGS`.
            selection: "validation" or "paper".
            workers: processes that read for training; 0 reads in the training process.
            task: "classify", or "segment", whose batches carry the lung mask.
            classes: names in the order of a network's outputs; checked against the cache's.
            shuffle_labels: of training and validation, between patients; a control for attribution.
        """
        super().__init__()
        # Hydra's own partial checks its policy again on every call: ten times the work of hiding.
        if isinstance(roi, partial):
            roi = partial(roi.func, *roi.args, **roi.keywords)
        self.roi = roi
        self.source, self.augment = source, augment
        self.image_size, self.batch_size, self.seed = image_size, batch_size, seed
        self.sampling, self.selection, self.workers = sampling, selection, workers
        self.task, self.classes, self.shuffle_labels = task, classes, shuffle_labels
        self.cache: Cache | None = None
        self.labels: npt.NDArray[np.int64] | None = None

    def prepare_data(self) -> None:
        """Build what is missing; Lightning calls it in one process."""
        if self.cache is None:
            self.source.ready(self.image_size)

    def setup(self, stage: str | None = None) -> None:
        """Open the cache and check it.

        Raises:
            UserError: a patient is in two splits, a split is empty or the cache is too small.
        """
        if self.cache is not None:
            return
        cache = Cache(self.source.ready(self.image_size))
        if cache.recipe.size < self.image_size:
            raise UserError(
                f"{cache.path}: holds {cache.recipe.size} px, and {self.image_size} are needed; "
                f"prepare again with data.size={self.image_size}"
            )
        self._check_labels(cache)
        check_disjoint(cache.table)
        for split in ("train", "val", "test"):
            if len(cache.rows([split])) == 0:
                raise UserError(f"{cache.path}: no image is in the split '{split}'")
        if isinstance(self.roi, partial) and self.roi.func is fixed_box_out:
            scale = self.image_size / cache.recipe.size
            rectangle = training_rectangle(cache)
            # Outwards, so that the scaled rectangle still contains the lungs.
            scaled = [math.floor(edge * scale) for edge in rectangle[:2]]
            scaled += [math.ceil(edge * scale) for edge in rectangle[2:]]
            self.roi = partial(self.roi, rectangle=tuple(scaled))
        if self.shuffle_labels:
            patients, splits = (
                cache.table.get_column(name).to_numpy() for name in ("patient_id", "split")
            )
            self.labels = shuffled_labels(cache.labels(), patients, splits, self.seed)
        self.cache = cache

    def _check_labels(self, cache: Cache) -> None:
        recipe = cache.recipe
        if recipe.task != self.task:
            raise UserError(f"{cache.path}: made to {recipe.task}, and this cell is to {self.task}")
        if self.shuffle_labels and self.task != "classify":
            raise UserError("experiment=label_randomised is for classifiers; give task=classify")
        wanted = None if self.classes is None else tuple(self.classes)
        if self.task == "classify" and wanted not in (None, recipe.classes):
            raise UserError(
                f"{cache.path}: its classes are {', '.join(recipe.classes)}, and the task's are "
                f"{', '.join(wanted or ())}; prepare it again with the task's"
            )

    def dataset(self, augmented: bool = False) -> RepresentationDataset:
        """Return the images of all splits, as training or as evaluation sees them."""
        assert self.cache is not None, "setup() comes first"
        return RepresentationDataset(
            self.cache,
            self.roi,
            self.image_size,
            self.augment if augmented else None,
            self.seed,
            with_mask=self.task == "segment",
            labels=self.labels,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return augmented batches, drawn by `sampling`, this rank's share of each."""
        dataset = self.dataset(augmented=True)
        joined = self.selection == "paper" and self.task == "classify"
        rows = dataset.cache.rows(["train", "val"] if joined else ["train"])
        natural = self.sampling == "natural"
        weights = None if natural else draw_weights(dataset.labels[rows], self.sampling)
        rank, ranks = self._rank()
        sampler = TrainingSampler(rows, weights, self.batch_size, self.seed, rank, ranks)
        return self._loader(dataset, sampler, self.workers)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]] | list[DataLoader[dict[str, Tensor]]]:
        """Return the images that choose the epoch; of a segmenter in the paper's way also "val"."""
        if self.selection != "paper":
            return self._evaluation("val", *self._rank())
        if self.task == "classify":
            return self._evaluation("test", *self._rank())
        return [self._evaluation(split, *self._rank()) for split in ("val", "test")]

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return every test image once, whatever the number of ranks.

        Raises:
            RuntimeError: the network still trains, and the test set does not choose the epoch: a
                callback asks that could let the test images decide something.
        """
        if self.selection != "paper" and self._trains():
            raise RuntimeError("selection=validation: the test set is read after training")
        return self._evaluation("test", 0, 1)

    def _trains(self) -> bool:
        state = None if self.trainer is None else self.trainer.state
        running = TrainerFn.FITTING, TrainerStatus.RUNNING
        return state is not None and (state.fn, state.status) == running

    def _evaluation(self, split: str, rank: int, ranks: int) -> DataLoader[dict[str, Tensor]]:
        dataset = self.dataset()
        return self._loader(dataset, EvaluationSampler(dataset.cache.rows([split]), rank, ranks), 0)

    def _loader(
        self,
        dataset: RepresentationDataset,
        sampler: TrainingSampler | EvaluationSampler,
        workers: int,
    ) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size // self._rank()[1],
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_one_thread if workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


def _one_thread(worker: int) -> None:
    # OpenCV otherwise starts as many threads as there are cores in every worker.
    cv2.setNumThreads(0)
