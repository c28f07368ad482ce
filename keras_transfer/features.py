"""What the frozen stages put out, computed once and kept: a phase then trains only the rest of the network.

Training on kept features is training of the whole network with the same stages frozen: frozen BatchNorm runs on its
stored statistics, and rows come in the same order. Augmented pictures are kept as *views*: view v of an example is what
epoch v of the phase would have shown, and a phase of more epochs begins again at the first.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config import AugmentationConfig, CacheConfig, DataConfig
from keras_transfer.data.augment import is_identity
from keras_transfer.data.pipeline import augmented_batches, map_ahead, shuffled_indices
from keras_transfer.data.splits import Split
from keras_transfer.errors import TrainingError
from keras_transfer.feature_store import Arrays, FeatureStore, cache_folder
from keras_transfer.model import TransferModel, flip_axes
from keras_transfer.progress import track

_FORMAT = 1
_BATCH = 32
_PLAIN = AugmentationConfig(horizontal_flip=False)


@dataclass(frozen=True)
class Features:
    """What is alive at the end of the frozen stages, for every row of a split.

    Attributes:
        arrays: ``[views, rows, ...]``, one for each tensor alive there.
        rows: Which of those rows there are, and in which order; None for all.
    """

    arrays: Arrays
    rows: NDArray[np.int64] | None = None

    def select(self, rows: NDArray[np.int64]) -> "Features":
        """Return some rows, by their numbers."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def batches(
        self, targets: NDArray[np.float32], weights: NDArray[np.float32], *, batch_size: int, seed: int, epochs: range
    ) -> Any:
        """Make a dataset of training batches, in the order in which pictures would come.

        Args:
            targets: ``float32[rows, classes]``, one-hot.
            weights: ``float32[rows]``.
            batch_size: Rows a step, at most.
            seed: Of the order.
            epochs: Numbers of the epochs.

        Returns:
            Batches of (features, targets, weights).
        """
        order = shuffled_indices(
            len(targets), batch_size=batch_size, seed=seed, epochs=len(epochs), first_epoch=epochs.start
        )

        def example(epoch: Any, rows: Any) -> Any:
            view = (epoch - epochs.start) % len(self.arrays[0])
            return self._read(view, rows), tf.gather(targets, rows), tf.gather(weights, rows)

        return map_ahead(order, example)

    def evaluation_batches(self, targets: NDArray[np.float32], *, batch_size: int, view: int = 0) -> Any:
        """Make a dataset of (features, targets) of one view, in the split's order."""
        rows = tf.data.Dataset.range(len(targets)).batch(batch_size)
        return map_ahead(rows, lambda rows: (self._read(view, rows), tf.gather(targets, rows)))

    def _read(self, view: Any, rows: Any) -> Any:
        def gather(view: Any, rows: Any) -> list[NDArray[np.float32]]:
            chosen = rows if self.rows is None else self.rows[rows]
            return [array[int(view)][chosen].astype(np.float32) for array in self.arrays]

        tensors = tf.numpy_function(gather, [view, rows], [tf.float32] * len(self.arrays), stateful=False)
        for tensor, array in zip(tensors, self.arrays, strict=True):
            tensor.set_shape([None, *array.shape[2:]])
        return tensors[0] if len(tensors) == 1 else tuple(tensors)


class FeatureCache:
    """Computes features, and finds again what was computed before.

    Args:
        config: How many views, in which precision, under which budget.
        data: Says how a picture becomes square.
        augmentation: The random changes.
        seed: Of the changes.
    """

    def __init__(self, config: CacheConfig, *, data: DataConfig, augmentation: AugmentationConfig, seed: int) -> None:
        self._config, self._data, self._augmentation, self._seed = config, data, augmentation, seed
        self._store = FeatureStore(cache_folder() / "features", max_bytes=config.max_bytes)

    def serves(self, frozen_stages: int) -> bool:
        """Tell whether a phase with so many frozen stages trains on features."""
        # Mixed pictures have no features of their own.
        mixes = self._augmentation.mixup or self._augmentation.cutmix
        return bool(self._config.views and frozen_stages and not mixes)

    def training(self, model: TransferModel, frozen_stages: int, split: Split, epochs: range) -> Features | None:
        """Return features of training pictures as the epochs of a phase would show them.

        Args:
            model: Its first stages are run as they are now.
            frozen_stages: How many.
            split: The rows.
            epochs: Numbers of the phase's epochs. There are as many views, at most ``cache.views``, and one view, of
                the plain pictures, where that is 1 or nothing is augmented.

        Returns:
            The features; None, with a warning, where they cannot be kept.

        Raises:
            TrainingError: Some are no numbers.
        """
        views = min(self._config.views, len(epochs))
        if self._config.views == 1 or is_identity(self._augmentation):
            return self._load(model, frozen_stages, split, [_View()])
        shown = [_View(epoch=epoch) for epoch in epochs[:views]]
        return self._load(model, frozen_stages, split, shown)

    def evaluation(
        self, model: TransferModel, frozen_stages: int, split: Split, *, flips: bool = False
    ) -> Features | None:
        """Return features of plain pictures.

        Args:
            model: Its first stages are run as they are now.
            frozen_stages: How many.
            split: The rows.
            flips: A view for each flip that predictions are averaged over, in place of one.

        Returns:
            The features; None, with a warning, where they cannot be kept.

        Raises:
            TrainingError: Some are no numbers.
        """
        return self._load(model, frozen_stages, split, self._plain_views(flips))

    def pooled(self, model: TransferModel, split: Split, *, flips: bool = False) -> NDArray[np.float32]:
        """Return pooled features of plain pictures, kept or not.

        Args:
            model: Its network is run as it is now.
            split: The rows.
            flips: A view for each flip that predictions are averaged over, the plain picture first, in place of one.

        Returns:
            ``float32[views, rows, channels]``.

        Raises:
            TrainingError: Some are no numbers.
        """
        stages = len(model.backbone.stages)
        features = self.evaluation(model, stages, split, flips=flips) if self._config.views else None
        if features is not None:
            return np.asarray(features.arrays[0], np.float32)
        frozen, _ = model.split(stages)
        views = self._plain_views(flips)
        rows = np.concatenate([batch[0] for batch in self._compute(model, frozen, stages, split, views)])
        return rows.reshape(len(views), len(split), -1)

    def time(self, model: TransferModel, frozen_stages: int, split: Split) -> tuple[float, float, float]:
        """Measure how fast features are computed here and now.

        Args:
            model: Its first stages are run.
            frozen_stages: How many.
            split: A few rows.

        Returns:
            Seconds a picture to read it, seconds a picture in the network, and seconds until the network is ready.
        """
        started = time.perf_counter()
        pixels = np.concatenate([np.asarray(batch) for batch in self._pixels(model, split, _View())])
        reading = (time.perf_counter() - started) / len(pixels)
        frozen, _ = model.split(frozen_stages)
        batch, seconds = np.resize(pixels, (_BATCH, *pixels.shape[1:])), []
        for _ in range(3):
            started = time.perf_counter()
            frozen.predict_on_batch(batch)
            seconds.append(time.perf_counter() - started)
        return reading, min(seconds) / _BATCH, max(seconds[0] - min(seconds), 0.0)

    def _plain_views(self, flips: bool) -> list["_View"]:
        return [_View(flipped=axes) for axes in (flip_axes(self._augmentation) if flips else [()])]

    def _load(
        self, model: TransferModel, frozen_stages: int, split: Split, views: Sequence["_View"]
    ) -> Features | None:
        if split.whole is not None and split.rows is not None:
            whole = self._load(model, frozen_stages, split.whole, views)
            return None if whole is None else whole.select(split.rows)
        frozen, _ = model.split(frozen_stages)
        key = self._key(model, frozen, frozen_stages, split, views)
        arrays = self._store.find(key)
        if arrays is None:
            last = model.backbone.stages[frozen_stages - 1].name
            arrays = self._store.write(
                key,
                f"{model.backbone.name} to {last}, {len(split):,} rows, {len(views)} view{'s' * (len(views) > 1)}",
                shapes=[(len(views), len(split), *tensor.shape[1:]) for tensor in frozen.outputs],
                dtype=self._config.dtype,
                batches=self._compute(model, frozen, frozen_stages, split, views),
            )
        return None if arrays is None else Features(arrays)

    def _compute(
        self, model: TransferModel, frozen: keras.Model, frozen_stages: int, split: Split, views: Sequence["_View"]
    ) -> Iterator[Arrays]:
        row = 0
        total = len(views) * -(-len(split) // _BATCH)
        batches = ((view, pixels) for view in views for pixels in self._pixels(model, split, view))
        for view, pixels in track(batches, "features", total):
            # The last batch is filled up: another shape would be compiled anew.
            shown = np.flip(pixels, view.flipped)
            if len(shown) < _BATCH:
                shown = np.resize(shown, (_BATCH, *shown.shape[1:]))
            outputs = keras.tree.flatten(frozen.predict_on_batch(shown))
            arrays = tuple(np.asarray(output, np.float32)[: len(pixels)] for output in outputs)
            for array in arrays:
                with np.errstate(over="ignore"):  # what is too large becomes infinite, which is looked for
                    kept = array.astype(self._config.dtype)
                finite = np.isfinite(kept).reshape(len(array), -1).all(axis=1)
                if not finite.all():
                    bad = int(finite.argmin())
                    file = split.files[(row + bad) % len(split)]
                    raise TrainingError(self._explain(model, frozen_stages, pixels[bad : bad + 1], file))
            row += len(arrays[0])
            yield arrays

    def _pixels(self, model: TransferModel, split: Split, view: "_View") -> Any:
        return augmented_batches(
            split,
            size=model.backbone.image_size,
            resize=self._data.resize,
            augmentation=self._augmentation if view.epoch is not None else _PLAIN,
            batch_size=_BATCH,
            seed=self._seed,
            epoch=view.epoch or 0,
        )

    def _explain(self, model: TransferModel, frozen_stages: int, pixels: Any, file: str) -> str:
        """Run the stages one by one to find the first whose output is no number."""
        for count in range(1, frozen_stages + 1):
            frozen, _ = model.split(count)
            outputs = keras.tree.flatten(frozen.predict_on_batch(pixels))
            if not all(np.isfinite(np.asarray(output, np.float32)).all() for output in outputs):
                return (
                    f"Features of {file} are no numbers after stage {model.backbone.stages[count - 1].name} of "
                    f"{model.backbone.name}. Check the file and backbone.weights, or set training.precision=float32."
                )
        return f"Features of {file} are too large for {self._config.dtype}. Set cache.dtype=float32."

    def _key(
        self, model: TransferModel, frozen: keras.Model, frozen_stages: int, split: Split, views: Sequence["_View"]
    ) -> str:
        """A digest of all that the features follow from."""
        backbone = model.backbone
        augmented = any(view.epoch is not None for view in views)
        facts = {
            "versions": [_FORMAT, keras.__version__, tf.__version__],
            "precision": [keras.config.dtype_policy().name, self._config.dtype],
            "backbone": [backbone.name, backbone.image_size, repr(backbone.contract), frozen_stages],
            "outputs": [list(tensor.shape[1:]) for tensor in frozen.outputs],
            "head": model.head.config.pooling if frozen_stages == len(backbone.stages) else None,
            "resize": self._data.resize,
            "augmentation": self._augmentation.model_dump(exclude={"predict_flips"}) if augmented else None,
            "seed": self._seed if augmented else None,
            "views": [[view.epoch, view.flipped] for view in views],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for path, file in zip(split.paths, split.files, strict=True):
            status = os.stat(file)
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        for weight in frozen.weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _View:
    """How pictures are shown: plain, flipped along axes, or as an epoch of training would."""

    epoch: int | None = None
    flipped: tuple[int, ...] = ()
