"""Recipes: one class with the logic, and a thin subclass for each task."""

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
]
