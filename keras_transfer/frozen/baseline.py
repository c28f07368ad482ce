"""The baseline of fine-tuning: a solved head on the pretrained network."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.distribution import Distribution
from keras_transfer.frozen.cache import FeatureCache
from keras_transfer.frozen.learning_curve import (
    HeldOut,
    LearningCurve,
    NoLearningCurve,
    Solved,
    measure_learning_curve,
    read_learning_curve,
)
from keras_transfer.heads import LOGITS, TargetHead
from keras_transfer.heads.solver import MOST_HINTED_ROWS, Folds, SolvedHead
from keras_transfer.model import TransferModel

_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Baseline:
    """The solved head on the pretrained network, before fine-tuning.

    Attributes:
        features: Pooled features of the training and the validation rows.
        predicted: ``float32[n, outputs]`` for the rows of each split that the run is evaluated on.
        seconds: Time for the features of the training rows and the solution.
        label_features: Pooled features of label names, if the solution could use them.
        curve: The head with fewer and with more rows, if requested.
    """

    head: SolvedHead
    features: dict[str, _Floats]
    predicted: dict[str, _Floats]
    seconds: float
    label_features: _Floats | None = None
    curve: LearningCurve | NoLearningCurve | None = None

    def to_state(self) -> dict[str, Any]:
        """Return the content of a checkpoint: everything but the features, which are not needed any more."""
        state = asdict(replace(self, features={}, label_features=None, curve=None))
        return {**state, "curve": self.curve and self.curve.to_json()}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "Baseline":
        """Restore a baseline from :meth:`to_state`."""
        curve = state.get("curve")
        parts = {"head": SolvedHead(**state["head"]), "curve": curve and read_learning_curve(curve)}
        return Baseline(**{**state, **parts})

    def put_on(self, model: TransferModel) -> None:
        """Set the weights of a model's head to the solution."""
        model.top.get_layer(LOGITS).set_weights([self.head.kernel, self.head.bias])

    def with_curve(
        self, head: TargetHead, splits: Splits, *, weights: _Floats, strata: Sequence[str], seed: int
    ) -> "Baseline":
        """Measure the quality of the head with fewer rows.

        Args:
            weights: ``float32[rows]``, sample weights of the training rows.
        """
        solved = Solved(
            head=head,
            solution=self.head,
            features=self.features["train"],
            targets=splits.train.targets,
            weights=weights,
            strata=strata,
            label_features=self.label_features,
            groups=splits.train.groups,
        )
        others = [split for split in (splits.validation, splits.test) if split.name in self.features]
        held_out = None
        if others:
            held_out = HeldOut(
                np.concatenate([self.features[split.name] for split in others]),
                np.concatenate([split.targets for split in others]),
                f"{' and '.join(split.name for split in others)} rows",
            )
        return replace(self, curve=measure_learning_curve(solved, held_out, seed=seed))


def measure_baseline(
    model: TransferModel,
    splits: Splits,
    cache: FeatureCache,
    *,
    weights: _Floats,
    folds: Folds,
    label_texts: Split | None,
    distribution: Distribution,
) -> Baseline:
    """Solve the head on the network in its current state, and predict the rows that the run is evaluated on.

    Args:
        model: Its head is a :class:`TargetHead` that can be solved; no weights change.
        weights: ``float32[rows]``, sample weights of the training rows.
        label_texts: An example per output that describes it in words, or None.
    """
    started = time.perf_counter()
    train, head = splits.train, _target_head(model)
    features = {"train": cache.pooled(model, train)[0]}
    labels = None
    if label_texts is not None and len(train) <= MOST_HINTED_ROWS * len(label_texts):
        labels = cache.pooled(model, label_texts)[0]
    solved = None
    if distribution.is_chief:
        solved = head.solve(features["train"], train.targets, weights, folds, labels)
    solved = distribution.broadcast(solved)
    seconds = time.perf_counter() - started
    predicted = {}
    for split in (splits.validation, splits.test):
        if len(split):
            # The head is evaluated like the model, over the same flips.
            views = cache.pooled(model, split, flips=True)
            features[split.name] = views[0]
            outputs = [head.predictions(view @ solved.kernel + solved.bias) for view in views]
            predicted[split.name] = np.mean(outputs, axis=0)
    return Baseline(solved, features, predicted, seconds, labels)


def _target_head(model: TransferModel) -> TargetHead:
    if not isinstance(model.head, TargetHead):
        raise TypeError(f"{type(model.head).__name__} cannot be solved")
    return model.head
