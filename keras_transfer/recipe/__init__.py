"""Recipes: one class with the logic, and a thin leaf for each task."""

from keras_transfer.recipe.absolute_paths import with_absolute_paths
from keras_transfer.recipe.base import (
    AudioClassification,
    ImageClassification,
    Recipe,
    SpeechToText,
    TextClassification,
    TextPretraining,
)

__all__ = [
    "AudioClassification",
    "ImageClassification",
    "Recipe",
    "SpeechToText",
    "TextClassification",
    "TextPretraining",
    "with_absolute_paths",
]
