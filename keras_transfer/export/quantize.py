"""What formats with quantization share: their settings, and the model as the converter needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import keras
from pydantic import Field, model_validator

from keras_transfer.config.section import Section
from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError
from keras_transfer.export.base import EXPORTERS, Exporter, Served
from keras_transfer.heads.calibration import TEMPERATURE
from keras_transfer.model import TOP
from keras_transfer.networks.windows import MeanOverWindows

Quantize = Literal["int8", "float16"]


class QuantizeSettings(Section):
    """The settings in a recipe of a format that supports quantization."""

    quantize: Quantize | None = Field(
        default=None,
        description="int8 for a quarter of the size, float16 for half of it; left out, numbers are as in the model",
    )
    max_drop: float = Field(
        default=0.01,
        ge=0.0,
        le=1.0,
        description="of a quantized export, how far the metric may fall on the test rows: of accuracy and mean average "
        "precision a share, of numbers the growth of the mean absolute error in standard deviations",
    )

    @model_validator(mode="after")
    def _check_that_max_drop_counts(self) -> Self:
        if self.quantize is None and self.max_drop != type(self).model_fields["max_drop"].default:
            raise ValueError("max_drop requires quantize; add quantize: int8 or float16, or leave it out")
        return self


def check_quantizable(kind: type[Exporter], given: Mapping[str, Any]) -> None:
    """Refuse options that a format does not support, or that need another option.

    Args:
        given: The given values of ``--quantize`` and ``--max-drop``.

    Raises:
        ConfigError: With an alternative.
    """
    if "max_drop" in given and "quantize" not in given:
        raise ConfigError("--max-drop requires --quantize. Add --quantize int8 or float16, or leave it out.")
    if given and "quantize" not in kind.Settings.model_fields:
        able = [name for name in EXPORTERS if "quantize" in EXPORTERS[name].Settings.model_fields]
        raise ConfigError(
            f"--quantize: the format {kind.name} has numbers as in the model. Received: {given['quantize']}. Formats "
            f"that can be quantized: {', '.join(able)}."
        )


def takes_pixels(reader: Reader) -> bool:
    """Return whether a model takes images, whose ranges depend on examples.

    Token ids have no ranges. Samples do, but the power of a spectrum spans more than 256 steps can represent.
    """
    return all(spec.dtype.is_floating and spec.shape.rank == 4 for spec in reader.tensor_inputs)


def takes_tokens(reader: Reader) -> bool:
    """Return whether a model takes token ids."""
    return not any(spec.dtype.is_floating for spec in reader.tensor_inputs)


def simplify(served: Served) -> Served:
    """Return the exported model with its temperature applied to raw outputs, as a quantizer needs it.

    The model divides the logarithm of probabilities by the temperature. These logarithms are raw outputs, up to a
    constant that softmax cancels: computed from probabilities in 256 steps, they would be inaccurate.
    """
    model = _scale_raw(served.model)
    return served if model is None else replace(served, model=model)


def _scale_raw(predictor: keras.Model) -> keras.Model | None:
    """The same model without probabilities between raw outputs and temperature; None if it averages probabilities."""
    raw: list[Any] = []

    def call(operation: Any, *arguments: Any, **options: Any) -> Any:
        if operation.name == TEMPERATURE and raw:
            return operation(raw[0])
        outputs = operation(*arguments, **options)
        if operation.name == TOP:
            raw.append(outputs)
        return outputs

    # Over windows or views: a temperature applies to the mean, not to each.
    if not isinstance(predictor, keras.Function) or any(isinstance(x, MeanOverWindows) for x in predictor.layers):
        return None
    same = keras.models.clone_model(
        predictor, input_tensors=predictor.input, clone_function=lambda layer: layer, call_function=call
    )
    return same if len(raw) == 1 else None


def tail_of(operations: Sequence[tuple[Any, Sequence[Any], Sequence[Any]]], start: Any) -> list[Any]:
    """Return the operations that depend on a tensor.

    Args:
        operations: In the order of execution: each with its inputs and outputs.
    """
    reached, found = {start}, []
    for operation, inputs, outputs in operations:
        if reached.intersection(inputs):
            reached.update(outputs)
            found.append(operation)
    return found
