"""The new layers on top of a backbone, with the loss, the metrics, the report and the answers that go with them."""

from typing import Any

from keras_transfer.config import RecipeConfig
from keras_transfer.data.targets import Targets
from keras_transfer.heads.base import LOGITS, Head, Prediction
from keras_transfer.heads.classification import ClassificationHead, ClassificationReport, ClassPrediction, ClassReport
from keras_transfer.heads.multilabel import LabelReport, MultilabelHead, MultilabelPrediction, MultilabelReport
from keras_transfer.heads.number import NumberHead, NumberPrediction, NumberReport, RegressionReport

__all__ = [
    "HEADS",
    "LOGITS",
    "ClassPrediction",
    "ClassReport",
    "ClassificationHead",
    "ClassificationReport",
    "Head",
    "LabelReport",
    "MultilabelHead",
    "MultilabelPrediction",
    "MultilabelReport",
    "NumberHead",
    "NumberPrediction",
    "NumberReport",
    "Prediction",
    "RegressionReport",
    "make_head",
    "restore_head",
]

HEADS: dict[str, type[Head]] = {"class": ClassificationHead, "multilabel": MultilabelHead, "number": NumberHead}
"""By the recipe's ``data.target``."""


def make_head(config: RecipeConfig, names: tuple[str, ...], targets: Targets) -> Head:
    """Make the head that a recipe asks for.

    Args:
        config: The recipe.
        names: Of the outputs.
        targets: Of the training rows.
    """
    return HEADS[config.data.target].fit(names, config.head, targets)


def restore_head(config: RecipeConfig, names: tuple[str, ...], facts: dict[str, Any]) -> Head:
    """Make the head of a finished run again.

    Args:
        config: The run's recipe.
        names: Of the outputs.
        facts: What the run kept of the head beside the model.

    Raises:
        KeyError: One is missing.
    """
    return HEADS[config.data.target].restore(names, config.head, facts)
