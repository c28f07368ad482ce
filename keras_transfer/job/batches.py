"""The batches of a job: of examples or, if the stages next to the input are frozen, of their cached features."""

import functools
from dataclasses import dataclass, replace
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.readers.base import PLAIN, Reader, View, map_ahead, steps_per_epoch
from keras_transfer.data.readers.batch_shares import WHOLE, Share
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.distribution import Distribution
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.heads.evaluation import predict
from keras_transfer.heads.solver import Folds
from keras_transfer.model import TransferModel
from keras_transfer.networks.types import Batches, Tensor, Tensors
from keras_transfer.training.phase import Inputs
from keras_transfer.training.policies import Phase

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

_PREDICT_BATCH = 256


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batches on which the phases of a job are trained, and the predictions for its evaluation."""

    config: RecipeConfig
    splits: Splits
    reader: Reader
    model: TransferModel
    distribution: Distribution

    @cached_property
    def cache(self) -> FeatureCache:
        """The cached output of frozen stages."""
        return FeatureCache(self.config.cache, self.reader, self.distribution)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return steps_per_epoch(len(self.splits.train), self._batch_size)

    @property
    def _batch_size(self) -> int:
        return self.config.training.most_per_step

    def weights(self, split: Split) -> Floats:
        """Return the sample weights of rows, ``float32[rows]``."""
        return split.weights * self.model.head.class_weights(split.targets, self.config.training.class_weights)

    def inputs(self, phase: Phase, epochs: range, skip: int = 0) -> Inputs:
        """Return the model that a phase trains, its batches after ``skip``, and those of validation rows."""
        frozen = phase.frozen_stages(len(self.model.backbone.stages))
        if not self.cache.serves(frozen) or not self.cache.covers(self.model, frozen):
            return self.example_inputs(phase, epochs, skip)
        return self._feature_inputs(phase, epochs, skip) or self._view_inputs(phase, epochs, skip)

    def example_inputs(self, phase: Phase, epochs: range, skip: int = 0) -> Inputs:
        """Return the same with the whole model, and batches of examples."""
        train = self.splits.train
        batches = self.reader.training_batches(
            train,
            self._encode(train),
            self.weights(train),
            batch_size=self._batch_size,
            seed=self.config.seed,
            epochs=epochs,
            skip=skip,
            share=self.distribution.share,
        )
        return self._whole(phase, batches)

    def fold_inputs(self, phase: Phase, epochs: range, learned: Rows, held_out: Rows) -> Inputs:
        """Return what :meth:`inputs` does, with some of the training rows to learn from, and others for validation."""
        train = self.splits.train
        splits = replace(self.splits, train=train.fold(learned), validation=train.fold(held_out))
        inputs = replace(self, splits=splits).inputs(phase, epochs)
        return replace(inputs, batches=self.distribution.feed(inputs.batches))

    def fold_steps(self, folds: Folds) -> int:
        """Return the steps per epoch on the fold with the most rows to learn from."""
        return max(steps_per_epoch(len(learned), self._batch_size) for learned, _ in folds)

    def held_out_order(self, folds: Folds) -> Rows:
        """Return the held-out rows of all folds in the order of their evaluations."""
        orders = []
        for _, rows in folds:
            batches = self.reader.evaluation_order(self.splits.train.fold(rows), batch_size=self._batch_size)
            orders.append(rows[np.concatenate(batches)])
        return np.concatenate(orders)

    def _view_inputs(self, phase: Phase, epochs: range, skip: int) -> Inputs:
        """The same as :meth:`_feature_inputs` without storing features: the whole model, with the same views."""
        train, size = self.splits.train, self._batch_size
        targets, weights = self._encode(train), self.weights(train)
        loads = [self.reader.load(train, view) for view in self.cache.training_views(epochs)]
        order = self.reader.order(train, batch_size=size, seed=self.config.seed, epochs=epochs, skip=skip)

        def batch(epoch: Tensor, rows: Tensor) -> tuple[Tensors, Tensor, Tensor]:
            view = tf.cast((epoch - epochs.start) % len(loads), tf.int32)
            shown = [functools.partial(load, rows) for load in loads]
            inputs = shown[0]() if len(shown) == 1 else tf.switch_case(view, shown)
            return inputs, tf.gather(targets, rows), tf.gather(weights, rows)

        return self._whole(phase, map_ahead(self.distribution.share.divide(order), batch))

    def _whole(self, phase: Phase, batches: Batches) -> Inputs:
        trainer = self.model.freeze(phase.frozen_stages(len(self.model.backbone.stages)))
        validation = self.splits.validation
        held_out = self.evaluation_batches(validation, self.distribution.share) if len(validation) else None
        return Inputs(trainer, batches, held_out)

    def _feature_inputs(self, phase: Phase, epochs: range, skip: int) -> Inputs | None:
        """The part of the model after the frozen stages, and features for it; None if they cannot be stored."""
        frozen = phase.frozen_stages(len(self.model.backbone.stages))
        train = self.splits.train
        features = self.cache.training(self.model, frozen, train, epochs)
        if features is None:
            return None
        batches = features.batches(
            self._encode(train),
            self.weights(train),
            batch_size=self._batch_size,
            seed=self.config.seed,
            epochs=epochs,
            skip=skip,
            share=self.distribution.share,
        )
        validation = None
        if len(self.splits.validation):
            held_out = self.cache.evaluation(self.model, frozen, self.splits.validation)
            if held_out is None:
                return None
            validation = held_out.evaluation_batches(
                self._encode(self.splits.validation), batch_size=self._batch_size, share=self.distribution.share
            )
        return Inputs(self.model.tail(frozen), batches, validation)

    def evaluation_batches(self, split: Split, share: Share = WHOLE, view: View = PLAIN) -> Batches:
        """Return batches of examples and encoded targets, each row once; a trainer takes the plain view."""
        targets, size = self._encode(split), self._batch_size
        return self.reader.evaluation_batches(split, targets, batch_size=size, view=view, share=share)

    def predict(self, frozen: int, split: Split, predictor: keras.Model | None = None) -> Floats:
        """Return predictions for a split, ``float32[rows, outputs]`` in the order of its rows.

        Args:
            frozen: How many stages no phase has trained; their cached features are used, unless they are computed from
                only a part of some examples.
        """
        features = None
        by_tail = predictor is None and not self.model.decodes and not self.reader.cuts(split)
        if by_tail and frozen and self.config.cache.views:
            features = self.cache.evaluation(self.model, frozen, split, flips=True)
        share = self.distribution.rows
        if features is None:
            shown = self.reader.predictor_view
            batches = self.evaluation_batches(split, share, shown)
            return self._join(predict(predictor or self.model.predictor, batches), split, self._batch_size, shown)
        tail = self.model.tail(frozen)
        targets, views = self._encode(split), []
        for view in range(features.views):
            batches = features.evaluation_batches(targets, batch_size=_PREDICT_BATCH, view=view, share=share)
            raw = self._join(predict(tail, batches), split, _PREDICT_BATCH)
            views.append(self.model.head.predictions(raw))
        return np.mean(views, axis=0, dtype=np.float32)

    def _join(self, predicted: Floats, split: Split, batch_size: int, view: View = PLAIN) -> Floats:
        """Combine the predictions of every process for its rows, in the order of the rows."""
        batches = self.reader.evaluation_order(split, batch_size=batch_size, view=view)
        mine = np.concatenate(self.distribution.rows.divide_evaluation(batches))
        gathered = self.distribution.gather((mine, predicted))
        rows, outputs = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        joined = np.empty_like(outputs)
        joined[rows] = outputs
        return joined

    def _encode(self, split: Split) -> Floats:
        return self.model.head.encode(split.targets)
