"""A head: classes by cosine similarity (Gidaris and Komodakis 2018, arXiv 1804.09458)."""

from typing import Any

import keras
from pydantic import Field

from keras_transfer import ClassificationHead, Section


class CosineSettings(Section):
    """Settings of the cosine head."""

    scale: float = Field(default=16.0, gt=0.0, description="factor on the cosines: how confident the head can be")


class CosineHead(ClassificationHead):
    """One class out of several, by the cosine between an image and each class."""

    settings_type = CosineSettings

    @property
    def is_solvable(self) -> bool:
        """Its optimum is not that of a linear problem."""
        return False

    def read_out(self, pooled: Any) -> Any:
        """Return scaled cosines."""
        unit = keras.layers.UnitNormalization(dtype="float32", name="head_unit")(pooled)
        kernel = {"kernel_constraint": keras.constraints.UnitNorm(axis=0), "use_bias": False}
        cosines = keras.layers.Dense(len(self.names), **kernel, dtype="float32", name=self.last_layer)(unit)
        return keras.layers.Rescaling(self.settings.scale, dtype="float32", name="head_scale")(cosines)
