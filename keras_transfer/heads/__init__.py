"""The new layers on top of a backbone, with the loss, the metrics, the report and the answers that go with them."""

from typing import cast

from keras_transfer.config import HeadConfig, RecipeConfig
from keras_transfer.data.targets.base import Targets
from keras_transfer.heads.base import LOGITS, Head, Prediction, TargetHead
from keras_transfer.heads.classification import ClassificationHead, ClassificationReport, ClassPrediction, ClassReport
from keras_transfer.heads.epoch_metrics import EpochMetric, Mode
from keras_transfer.heads.masked import MaskedLanguageHead, MaskedReport, evaluate_masked
from keras_transfer.heads.multilabel import LabelReport, MultilabelHead, MultilabelPrediction, MultilabelReport
from keras_transfer.heads.number import NumberHead, NumberPrediction, NumberReport, RegressionReport
from keras_transfer.networks.types import JsonObject

__all__ = [
    "HEADS",
    "LOGITS",
    "ClassPrediction",
    "ClassReport",
    "ClassificationHead",
    "ClassificationReport",
    "EpochMetric",
    "Head",
    "LabelReport",
    "MaskedLanguageHead",
    "MaskedReport",
    "Mode",
    "MultilabelHead",
    "MultilabelPrediction",
    "MultilabelReport",
    "NumberHead",
    "NumberPrediction",
    "NumberReport",
    "Prediction",
    "RegressionReport",
    "TargetHead",
    "evaluate_masked",
    "make_head",
    "restore_head",
]

HEADS: dict[str, type[TargetHead]] = {"class": ClassificationHead, "multilabel": MultilabelHead, "number": NumberHead}
"""By the recipe's ``data.target``."""


def make_head(config: RecipeConfig, names: tuple[str, ...], targets: Targets) -> TargetHead:
    """Make the head that a recipe asks for.

    Args:
        config: The recipe.
        names: Of the outputs.
        targets: Of the training rows.

    Raises:
        ConfigError: ``training.class_weights`` does not have the names of the classes.
    """
    head = HEADS[config.data.target].fit(names, _section(config), targets)
    head.class_weights(targets, config.training.class_weights)  # before training, not in its first step
    return head


def restore_head(config: RecipeConfig, names: tuple[str, ...], facts: JsonObject) -> TargetHead:
    """Make the head of a finished run again.

    Args:
        config: The run's recipe.
        names: Of the outputs.
        facts: What the run kept of the head beside the model.

    Raises:
        KeyError: One is missing.
    """
    return HEADS[config.data.target].restore(names, _section(config), facts)


def _section(config: RecipeConfig) -> HeadConfig:
    return cast(HeadConfig, config.head)  # pre-training, whose head has other settings, makes it by itself
