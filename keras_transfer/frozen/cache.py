"""The output of the frozen stages, computed once and cached: a phase then trains only the rest of the network.

Training on cached features equals training of the whole network with the same stages frozen: frozen BatchNorm uses its
stored statistics, and rows are in the same order. Augmented images are cached as *views*: view v of an example is what
epoch v of the phase would have shown, and a phase with more epochs starts again with the first view. The cache only
affects speed: if it cannot be written, a run computes the features of the same views itself.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.schema import CacheConfig
from keras_transfer.console import track
from keras_transfer.data.readers.base import PLAIN, Reader, Rows, View
from keras_transfer.data.splits.splits import Split
from keras_transfer.distribution import ONE_DEVICE, Distribution
from keras_transfer.errors import DataError, TrainingError, list_lines
from keras_transfer.frozen.features import Features, feature_width, has_tokens
from keras_transfer.model import TransferModel
from keras_transfer.storage.cache_store import FeatureStore, cache_folder
from keras_transfer.storage.stored_arrays import Arrays, StoredArray

_FORMAT = 5
_BATCH = 32


class FeatureCache:
    """Computes features, or finds them in the cache.

    Args:
        config: Number of views, precision and budget.
        distribution: The processes of the run: the chief computes, and the others read its cache if they share it.
    """

    def __init__(self, config: CacheConfig, reader: Reader, distribution: Distribution = ONE_DEVICE) -> None:
        self._config, self._reader, self._distribution = config, reader, distribution
        self._store = FeatureStore(cache_folder() / "features", max_bytes=config.max_bytes)
        self._used: list[StoredArray] = []

    def serves(self, frozen_stages: int) -> bool:
        """Return whether a phase with this number of frozen stages trains on features."""
        return bool(self._config.views and frozen_stages and not self._reader.mixes)

    def covers(self, model: TransferModel, frozen_stages: int) -> bool:
        """Return whether all inputs of the later stages can be cached: augmentation changes none of them."""
        return set(model.extra_inputs(frozen_stages)) <= set(self._reader.names)

    def training(self, model: TransferModel, frozen_stages: int, split: Split, epochs: range) -> Features | None:
        """Return features of training examples according to the epochs of a phase.

        Args:
            epochs: Numbers of the phase's epochs. There is a view for each, up to ``cache.views``, and one view of the
                plain examples if that is 1 or nothing is augmented.

        Returns:
            The features; None if they cannot be stored anywhere, with a warning if there is not enough space. The phase
            then uses :meth:`training_views`.

        Raises:
            TrainingError: Some are NaN or infinite.
        """
        return self._load(model, frozen_stages, split, self.training_views(epochs))

    def training_views(self, epochs: range) -> Sequence[View]:
        """Return the views that the epochs of a phase use in turn."""
        return self._reader.training_views(epochs, self._config.views)

    def find_damage(self) -> list[str]:
        """Return a line for each cached file that could be read earlier and cannot be read now."""
        return [problem for array in self._used if (problem := array.problem()) is not None]

    def evaluation(
        self, model: TransferModel, frozen_stages: int, split: Split, *, flips: bool = False
    ) -> Features | None:
        """Return features of plain examples.

        Args:
            flips: A view for each flip that predictions are averaged over, instead of one.

        Returns:
            The features; None if they cannot be cached, with a warning if there is not enough space.

        Raises:
            TrainingError: Some are NaN or infinite.
        """
        return self._load(model, frozen_stages, split, self._plain_views(flips))

    def pooled(self, model: TransferModel, split: Split, *, flips: bool = False) -> NDArray[np.float32]:
        """Return pooled features of plain examples, cached or computed.

        Args:
            flips: A view for each flip that predictions are averaged over, the plain one first, instead of one.

        Returns:
            ``float32[views, rows, channels]``.

        Raises:
            TrainingError: Some are NaN or infinite.
        """
        stages = len(model.backbone.stages)
        features = self.evaluation(model, stages, split, flips=flips) if self._config.views else None
        if features is not None:
            (array,) = features.arrays
            return np.stack([array.take(view, features.indices) for view in range(features.views)]).astype(np.float32)
        views = self._plain_views(flips)
        rows = np.concatenate([batch[0] for batch in self._compute(model, stages, split, views)])
        return rows.reshape(len(views), len(split), -1)[:, self._indices(split)]

    def time(self, model: TransferModel, frozen_stages: int, split: Split) -> tuple[float, float, float]:
        """Measure how fast features are computed on this machine.

        Returns:
            Seconds per example to read it, seconds per example in the network, and seconds until the network is ready.
        """
        started = time.perf_counter()
        batches = list(self._inputs(split, PLAIN))
        reading = (time.perf_counter() - started) / len(split)
        frozen = model.frozen_part(frozen_stages)
        first, rounds = 0.0, []
        for number in range(3):
            started = time.perf_counter()
            for batch in batches:
                frozen.predict_on_batch(batch)
                if not first:
                    first = time.perf_counter() - started
            if number:
                rounds.append(time.perf_counter() - started)
        fastest = min(rounds)
        return reading, fastest / len(split), max(first - fastest / len(batches), 0.0)

    def _plain_views(self, flips: bool) -> Sequence[View]:
        return self._reader.evaluation_views() if flips else (PLAIN,)

    def _indices(self, split: Split) -> Rows:
        """The index of each row in the features, which are computed in the order of an evaluation."""
        return np.argsort(np.concatenate(self._reader.evaluation_order(split, batch_size=_BATCH)))

    def _load(self, model: TransferModel, frozen_stages: int, split: Split, views: Sequence[View]) -> Features | None:
        if split.whole is not None and split.rows is not None:
            whole = self._load(model, frozen_stages, split.whole, views)
            return None if whole is None else whole.select(split, split.rows)
        if not self.covers(model, frozen_stages):
            return None
        extra_inputs = model.extra_inputs(frozen_stages)
        boundary, starts = model.boundary(frozen_stages), self._starts(split)
        contents = split.examples.content_hashes
        key = self._key(model, frozen_stages, contents, self._reader.describe(split, views), views)
        rows = [int(starts[-1]) if has_tokens(tensor) else len(split) for tensor in boundary]
        shapes = [(len(views), n, *feature_width(x)) for n, x in zip(rows, boundary, strict=True)]

        def compute() -> Iterator[Arrays]:
            yield from self._compute(model, frozen_stages, split, views)
            _check_unchanged(split, contents)

        with self._distribution.chief_first():
            arrays = self._store.find(key, shapes=shapes, dtype=self._config.dtype)
            if arrays is None:
                last = model.backbone.stages[frozen_stages - 1].name
                arrays = self._store.write(
                    key,
                    f"{model.backbone.name} to {last}, {len(split):,} rows, {len(views)} view{'s' * (len(views) > 1)}",
                    shapes=shapes,
                    dtype=self._config.dtype,
                    batches=compute,
                )
        if self._distribution.any(arrays is None) or arrays is None:  # all processes train alike
            return None
        self._used += arrays
        tokens = tuple(map(has_tokens, boundary))
        return Features(arrays, split, self._indices(split), starts, tokens, extra_inputs, self._reader)

    def _starts(self, split: Split) -> Rows:
        """The index of each row's first token, in the order of the arrays."""
        lengths = self._reader.lengths(split)
        if lengths is None:
            return np.zeros(len(split) + 1, np.int64)
        order = np.concatenate(self._reader.evaluation_order(split, batch_size=_BATCH))
        return np.append(0, np.cumsum(lengths[order]))

    def _compute(
        self, model: TransferModel, frozen_stages: int, split: Split, views: Sequence[View]
    ) -> Iterator[Arrays]:
        frozen = model.frozen_part(frozen_stages)
        order = self._reader.evaluation_order(split, batch_size=_BATCH)
        lengths = self._reader.lengths(split)
        batches = (
            (inputs, rows) for view in views for inputs, rows in zip(self._inputs(split, view), order, strict=True)
        )
        for inputs, rows in track(batches, "features", len(views) * len(order)):
            # A smaller last batch is padded: another shape would have to be compiled.
            shown = keras.tree.map_structure(lambda x: np.resize(x, (_BATCH, *x.shape[1:])), inputs)
            outputs = keras.tree.flatten(frozen.predict_on_batch(shown))
            arrays = []
            for output, tensor in zip(outputs, frozen.outputs, strict=True):
                array = np.asarray(output, np.float32)[: len(rows)]
                if lengths is not None and has_tokens(tensor):
                    owners = np.repeat(rows, lengths[rows])
                    array = array[np.arange(array.shape[1]) < lengths[rows, None]]
                else:
                    owners = rows
                with np.errstate(over="ignore"):  # values that are too large become infinite, which is detected below
                    stored = array.astype(self._config.dtype)
                finite = np.isfinite(stored).reshape(len(array), -1).all(axis=1)
                if not finite.all():
                    bad = owners[int(finite.argmin())]
                    index = int(np.flatnonzero(rows == bad)[0])
                    one = keras.tree.map_structure(lambda x, index=index: x[index : index + 1], inputs)
                    raise TrainingError(self._explain(model, frozen_stages, one, split.examples.names[bad]))
                arrays.append(array)
            yield tuple(arrays)

    def _inputs(self, split: Split, view: View) -> Any:
        return self._reader.evaluation_batches(split, batch_size=_BATCH, view=view).as_numpy_iterator()

    def _explain(self, model: TransferModel, frozen_stages: int, inputs: Any, name: str) -> str:
        """Run the stages one by one to find the first whose output is NaN or infinite."""
        for count in range(1, frozen_stages + 1):
            outputs = keras.tree.flatten(model.frozen_part(count).predict_on_batch(inputs))
            if not all(np.isfinite(np.asarray(output, np.float32)).all() for output in outputs):
                return (
                    f"Features of {name} are NaN or infinite after stage {model.backbone.stages[count - 1].name} of "
                    f"{model.backbone.name}. Check it and backbone.weights, or set training.precision=float32."
                )
        return f"Features of {name} are too large for {self._config.dtype}. Set cache.dtype=float32."

    def _key(
        self,
        model: TransferModel,
        frozen_stages: int,
        contents: Sequence[str],
        reading: Mapping[str, Any],
        views: Sequence[View],
    ) -> str:
        """A digest of everything on which the features depend."""
        backbone = model.backbone
        facts = {
            "versions": [_FORMAT, keras.backend.backend(), keras.__version__, tf.__version__],
            "precision": [keras.config.dtype_policy().name, self._config.dtype],
            "backbone": [backbone.describe(), frozen_stages],
            "outputs": [list(tensor.shape[1:]) for tensor in model.boundary(frozen_stages)],
            "head": model.head.describe_pooling() if frozen_stages == len(backbone.stages) else None,
            "reader": reading,
            "views": [[view.epoch, view.flipped] for view in views],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for content in contents:
            digest.update(f"{content}\n".encode())
        for stage in backbone.stages[:frozen_stages]:
            for weight in stage.weights:
                digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()


def _check_unchanged(split: Split, contents: Sequence[str]) -> None:
    """Refuse examples that changed while features were computed: these would be cached for the old content."""
    now = zip(split.examples.names, contents, split.examples.content_hashes, strict=True)
    changed = [name for name, before, after in now if before != after]
    if changed:
        raise DataError(
            f"{len(changed)} {split.name} examples changed while features of them were computed:\n"
            f"{list_lines(changed)}\nRun again."
        )
