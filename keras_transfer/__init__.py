"""Fine-tune pretrained networks with Keras: from a few hundred labelled images or texts to a model to be served.

Public names are bound when they are first used: importing this package imports neither TensorFlow nor Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.backbones import BACKBONES, Backbone
    from keras_transfer.config import PolicyConfig, RecipeConfig
    from keras_transfer.errors import (
        BackboneError,
        CheckpointError,
        ConfigError,
        DataError,
        ExportError,
        PolicyError,
        RunInterrupted,
        TrainingError,
        TransferError,
        TransferWarning,
    )
    from keras_transfer.heads import Prediction
    from keras_transfer.heads.evaluation import Report
    from keras_transfer.recipe import ImageClassification, Recipe, TextClassification, TextPretraining
    from keras_transfer.recipe.cross_validation import CrossValidation, cross_validate
    from keras_transfer.run.run import Run
    from keras_transfer.training.policies import POLICIES, Phase, Policy, Scope

__version__ = "0.1.0"

_HOMES = {
    "backbones": ("BACKBONES", "Backbone"),
    "config": ("PolicyConfig", "RecipeConfig"),
    "recipe.cross_validation": ("CrossValidation", "cross_validate"),
    "errors": (
        "BackboneError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "ExportError",
        "PolicyError",
        "RunInterrupted",
        "TrainingError",
        "TransferError",
        "TransferWarning",
    ),
    "heads.evaluation": ("Report",),
    "heads": ("Prediction",),
    "training.policies": ("POLICIES", "Phase", "Policy", "Scope"),
    "recipe": ("ImageClassification", "Recipe", "TextClassification", "TextPretraining"),
    "run.run": ("Run",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 (sorted as a whole, without regard to case)
    "BACKBONES",
    "Backbone",
    "BackboneError",
    "CheckpointError",
    "ConfigError",
    "CrossValidation",
    "cross_validate",
    "DataError",
    "ExportError",
    "ImageClassification",
    "Phase",
    "POLICIES",
    "Policy",
    "PolicyConfig",
    "PolicyError",
    "Prediction",
    "Recipe",
    "RecipeConfig",
    "Report",
    "Run",
    "RunInterrupted",
    "Scope",
    "TextClassification",
    "TextPretraining",
    "TrainingError",
    "TransferError",
    "TransferWarning",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
