"""The description of an exported model: everything about it that is not the network, as JSON.

It is part of each artifact, so that a client in any language knows what to send and how to interpret the results, and
so that ``evaluate`` and ``predict`` only need the file. docs/serving.md lists its keys.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

import tensorflow as tf
from pydantic import AfterValidator, Field

from keras_transfer import __version__
from keras_transfer.config.deciding import without_places
from keras_transfer.config.records import Names, Record, find_problem
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ExportError
from keras_transfer.heads import TargetHead
from keras_transfer.storage.inside import read_regular

KEY = "keras_transfer"
"""Of the metadata of an ONNX file."""

FILE = "keras_transfer.json"
"""In a SavedModel's ``assets.extra``, and among the associated files of a LiteRT file."""

FORMAT_VERSION = 1
MOST_BYTES = 32_000_000
"""Of a description: names and thresholds of more than a hundred thousand classes."""

_MOST_VALUES = 2**28
# Entries of data.json on rows: no client needs them, and they may be confidential.
_ROWS = ("splits", "notes", "corrections", "earlier", "earlier_rows", "skipped", "repeated")


def _of_a_possible_size(shape: list[int | None]) -> list[int | None]:
    if math.prod(size or 1 for size in shape) > _MOST_VALUES:
        raise ValueError("more values than a model takes or returns for one example")
    return shape


_Size = Annotated[int, Field(ge=1)] | None


class _Tensor(Record):
    name: str
    dtype: str
    shape: Annotated[list[_Size], AfterValidator(_of_a_possible_size)]


class _Facts(Record):
    format_version: Annotated[int, Field(ge=1)]
    keras_transfer: str
    task: str
    names: Annotated[Names, Field(min_length=1)]
    inputs: Annotated[list[_Tensor], Field(min_length=1)]
    outputs: list[_Tensor]
    predictions_output: str
    preprocessing: dict[str, Any]
    quantize: str | None = None
    proof: dict[str, Any] | None = None
    head: dict[str, Any]
    recipe: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class TensorDescription:
    """An input or output of an exported model.

    Attributes:
        dtype: ``float32``, ``int32``, ``bool`` and the like.
        shape: None for a size that may differ from call to call, such as that of the batch.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Description:
    """Everything about an exported model except the network. It contains no path, no row and no hash of the data.

    Attributes:
        task: The name of the recipe's task.
        names: Of the classes, labels or numbers, in the order of the predictions.
        inputs: Of the endpoint that takes tensors.
        outputs: The numeric ones of that endpoint.
        predictions_output: Which of these are the predictions themselves.
        preprocessing: From a client's inputs to ``inputs``, as :attr:`Reader.preprocessing` describes it.
        head: Values that were learned in addition to the weights, as in head.json: thresholds, temperature, coverage.
        recipe: The keys of the recipe on which predictions depend.
        record: The entries of data.json that are not about rows.
        quantize: The number format, such as ``int8``; None for that of the model.
        proof: The result of checking a quantized artifact: the metric before and after, and its drop.
        version: The version of this package that wrote it.
    """

    task: str
    names: tuple[str, ...]
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]
    predictions_output: str
    preprocessing: Mapping[str, Any]
    head: Mapping[str, Any]
    recipe: Mapping[str, Any]
    record: Mapping[str, Any]
    quantize: str | None = None
    proof: Mapping[str, Any] | None = None
    version: str = __version__

    def to_json(self) -> str:
        """Return the description as a JSON object in one line of ASCII."""
        values = asdict(self)
        versions = {"format_version": FORMAT_VERSION, "keras_transfer": values.pop("version")}
        return json.dumps({**versions, **values}, allow_nan=False)

    @classmethod
    def from_json(cls, content: str | bytes, where: str) -> Self:
        """Read the output of :meth:`to_json`, which may have been tampered with.

        Args:
            content: The JSON.
            where: The artifact, for messages.

        Raises:
            ExportError: It is not a description, or is of a later version.
        """
        if len(content) > MOST_BYTES:
            raise damaged(where, f"it has {len(content):,} bytes, and at most {MOST_BYTES:,} are read")
        try:
            values = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise damaged(where, str(error)) from error
        version = values.get("format_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ExportError(
                f"{where} was exported by a later version of keras_transfer. Received: a description of version "
                f"{version}; this version reads {FORMAT_VERSION}. Upgrade keras_transfer, or export the run again."
            )
        problem = find_problem(_Facts, values)
        if problem is not None:
            raise damaged(where, problem)
        inputs, outputs = (
            tuple(TensorDescription(one["name"], one["dtype"], tuple(one["shape"])) for one in values[key])
            for key in ("inputs", "outputs")
        )
        return cls(
            task=values["task"],
            names=tuple(values["names"]),
            inputs=inputs,
            outputs=outputs,
            predictions_output=values["predictions_output"],
            preprocessing=values["preprocessing"],
            head=values["head"],
            # The file may be untrusted, and contain paths to files of this machine.
            recipe=without_places(values["recipe"]),
            record=_without_rows(values["record"]),
            quantize=values.get("quantize"),
            proof=values.get("proof"),
            version=values["keras_transfer"],
        )


def describe(config: RecipeConfig, record: Mapping[str, Any], head: TargetHead, reader: Reader) -> Description:
    """Describe a model that is exported."""
    outputs = _serving_outputs(head)
    numeric = {name: tensor for name, tensor in outputs.items() if tensor.dtype != tf.string}
    return Description(
        task=config.task,
        names=tuple(head.names),
        inputs=describe_inputs(reader),
        outputs=tuple(_describe_tensor(name, tensor) for name, tensor in numeric.items()),
        predictions_output=head.predictions_output,
        preprocessing=reader.preprocessing,
        head=head.facts,
        recipe=without_places(config.model_dump(mode="json")),
        record=_without_rows(record),
    )


def _serving_outputs(head: TargetHead) -> Mapping[str, Any]:
    """The outputs of one example, or of a sequence of any length their shapes."""
    if head.prediction_width is not None:
        return head.serving_outputs(tf.zeros([1, head.prediction_width], tf.float32))
    graph = tf.function(lambda x: {**head.serving_outputs(x), **head.tensor_outputs(x)}, autograph=False)
    outputs: Mapping[str, Any] = graph.get_concrete_function(tf.TensorSpec([None, None])).structured_outputs
    return outputs


def describe_inputs(reader: Reader) -> tuple[TensorDescription, ...]:
    """Describe the inputs of the endpoint for tensors."""
    return tuple(_describe_tensor(spec.name, spec) for spec in reader.tensor_inputs)


def read_description_file(file: Path, where: str) -> Description:
    """Read a description from a separate file.

    Raises:
        ExportError: The file is missing, damaged, or of a later version.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise damaged(where, f"{file.name} has more than {MOST_BYTES:,} bytes")
        content = read_regular(file)
    except FileNotFoundError as error:
        raise missing(where) from error
    except OSError as error:
        raise damaged(where, f"{file.name} cannot be read: {error.strerror}") from error
    return Description.from_json(content, where)


def missing(where: str) -> ExportError:
    """Return the error for a model without a description."""
    return ExportError(
        f"{where} has no description by keras_transfer: another program or an earlier version wrote it, or its "
        "metadata was removed. Export the run again, or name the run folder."
    )


def damaged(where: str, reason: str) -> ExportError:
    """Return the error for a description that cannot be used."""
    return ExportError(f"The description in {where} is damaged: {reason}. Export the run again, or use another copy.")


def _describe_tensor(name: str, spec: Any) -> TensorDescription:
    """The first dimension is that of the batch."""
    return TensorDescription(name, spec.dtype.name, (None, *spec.shape.as_list()[1:]))


def _without_rows(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _ROWS}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
