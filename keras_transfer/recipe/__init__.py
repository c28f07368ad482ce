"""Recipes: one base class, and a thin leaf for each task."""

from keras_transfer.recipe.absolute_paths import with_absolute_paths
from keras_transfer.recipe.base import TASKS, Recipe
from keras_transfer.recipe.tasks import ImageClassification, TextClassification, TextPretraining

__all__ = [
    "TASKS",
    "ImageClassification",
    "Recipe",
    "TextClassification",
    "TextPretraining",
    "with_absolute_paths",
]
