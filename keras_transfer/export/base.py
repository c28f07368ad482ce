"""Exporters: what a format adds to what all formats share.

An exporter writes a model in its format. :func:`~keras_transfer.export.writing.export_run` does the rest: the process
on another backend if the format needs one, verification in a fresh process on raw held-out examples, and writing the
folder atomically.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.config.schema import RecipeConfig
from keras_transfer.config.section import Configurable, NamedSettings
from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError
from keras_transfer.export.description import Description, describe, missing
from keras_transfer.heads import TargetHead
from keras_transfer.networks.keras_file import write_keras_file
from keras_transfer.registry import Registry

# The end of messages when verification failed.
NOTHING_EXPORTED = "Nothing was exported. Try another format, or report this with the environment.json of the run."


@dataclass(frozen=True)
class Served:
    """The model that is exported, with its inputs and outputs.

    Attributes:
        model: From inputs to predictions.
        head: Defines the meaning of predictions: names, thresholds, outputs for clients.
        reader: From a client's inputs to the model's inputs.
        run: The run folder, from which a process on another backend restores the same objects.
        config: The recipe.
        record: The content of data.json.
        calibration: A folder of training examples, for an exporter that calibrates; else None.
        quantize: How the artifact stores numbers: :attr:`Exporter.quantize`.
    """

    model: keras.Model
    head: TargetHead
    reader: Reader
    run: Path
    config: RecipeConfig
    record: Mapping[str, Any]
    calibration: Path | None = None
    quantize: str | None = None

    def describe(self) -> Description:
        """Return everything that a client, and ``evaluate`` on the artifact, need to know apart from the network."""
        return replace(describe(self.config, self.record, self.head, self.reader), quantize=self.quantize)

    def calibration_batches(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Read the examples of :attr:`calibration`: batches by the names of the reader's ``tensor_inputs``."""
        if self.calibration is not None:
            for file in sorted(self.calibration.iterdir()):
                with np.load(file, allow_pickle=False) as arrays:
                    yield dict(arrays)

    def save_model(self, file: Path) -> None:
        """Save the model to a ``.keras`` file that Keras can load without this package.

        Its BatchNorm layers run on a fused kernel here, under a class of this package; in the file they are Keras' own.
        """
        write_keras_file(self.model, file)


class Exporter(Configurable, ABC):
    """Writes models in one format.

    A subclass is registered under its name in :data:`EXPORTERS`, or by a package in the entry-point group
    ``keras_transfer.exporters``.

    Args:
        settings: As :attr:`Settings` declares them.

    Raises:
        ConfigError: A setting is unknown or has a wrong type.
    """

    name: ClassVar[str]
    """What recipes and the command line call the format: ``saved_model``."""

    title: ClassVar[str]
    """What messages call an artifact: ``SavedModel``."""

    probe: ClassVar[Path]
    """A Python file that imports only what runs the format.

    Its function ``load(artifact, inputs)`` takes the artifact's folder and the names of the inputs. It returns a
    function from a batch, a dictionary of lists or arrays by input name, to outputs by name, and the class names that
    it has read from the artifact.
    """

    endpoint: ClassVar[Literal["raw", "tensors"]] = "raw"
    """What an artifact takes: what a client has (bytes of image files, texts), or the reader's ``tensor_inputs``."""

    has_client: ClassVar[bool] = False
    """Whether ``serve.py`` lies beside an artifact, which takes what a client has and runs ONNX or LiteRT files."""

    backend: ClassVar[str | None] = None
    """The Keras backend that :meth:`write` needs; None if any will do."""

    @property
    def quantize(self) -> str | None:
        """The number format of an artifact, such as ``int8``: the setting ``quantize``; None for that of the model.

        A quantized artifact is checked with the metric on labelled rows, which may drop by up to the setting
        ``max_drop``.
        """
        quantize: str | None = getattr(self.settings, "quantize", None)
        return quantize

    def check(self, reader: Reader) -> None:
        """Refuse settings that do not support a kind of input, before anything is trained or written.

        Args:
            reader: From a client's inputs to the model's inputs.

        Raises:
            ConfigError: With an alternative.
        """

    def calibrates(self, reader: Reader) -> bool:
        """Return whether :meth:`write` reads training examples to calibrate the ranges of values.

        Args:
            reader: From a client's inputs to the model's inputs.
        """
        return False

    extra: ClassVar[str | None] = None
    """The extra of keras-transfer that installs the format's runtime; None if the package itself needs it."""

    # Reading an artifact back, for evaluate and predict on the file.

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether a file or folder looks like an artifact of this format; by default, none does.

        Args:
            path: The path that a user named: an artifact's folder, or a file in it. It may not exist.
        """
        return False

    @classmethod
    def read_description(cls, path: Path) -> Description:
        """Read an artifact's description, without loading the network.

        Args:
            path: A path that :meth:`recognizes` recognizes.

        Raises:
            ExportError: There is no description, or it is damaged.
        """
        raise missing(str(path))

    @classmethod
    def record_proof(cls, artifact: Path, facts: Mapping[str, Any]) -> None:
        """Write the result of checking a quantized artifact into its description; by default nowhere.

        Args:
            artifact: The folder that :meth:`write` has written.
            facts: :meth:`MetricDrop.to_json`.
        """

    @classmethod
    def find_artifact(cls, path: Path) -> Path:
        """Return the path that the probe loads, for a path that :meth:`recognizes` recognizes; by default the same."""
        return path

    @classmethod
    def find_reader_files(cls, path: Path) -> Path:
        """Return the folder with the files of the reader, such as a tokenizer; by default the artifact's own folder."""
        return path if path.is_dir() else path.parent

    @classmethod
    def title_in_messages(cls) -> str:
        return f"export.formats: {cls.name}"

    @abstractmethod
    def write(self, served: Served, artifact: Path) -> None:
        """Write an artifact. It is not published before it has been verified.

        The outputs include the predictions under ``served.head.predictions_output``, ``float32[batch, outputs]``;
        outputs that are not floats, such as labels, must be those of ``served.head.serving_outputs``. The artifact
        contains the class names. With the endpoint ``raw``, the outputs are those of ``served.head.masked_outputs``:
        ``ok: bool[batch]`` is false for unreadable inputs, which do not affect the others.

        Args:
            served: The model, with what its inputs and outputs mean.
            artifact: An empty folder to write into.

        Raises:
            ExportError: The format does not support this model.
        """


def _check_class(loaded: Any) -> type[Exporter]:
    if not (isinstance(loaded, type) and issubclass(loaded, Exporter)):
        raise ConfigError(
            f"The entry point of an exporter must be a subclass of keras_transfer.Exporter. Received: {loaded!r}. "
            "Fix or uninstall the package that provides it."
        )
    return loaded


EXPORTERS: Registry[type[Exporter]] = Registry(
    "export format", ConfigError, group="keras_transfer.exporters", take=_check_class
)
"""The classes of exporters, by the name of their format."""


def find_exporter(path: Path) -> type[Exporter] | None:
    """Return the format of an exported model; None if no format recognizes it."""
    return next((EXPORTERS[name] for name in EXPORTERS if EXPORTERS[name].recognizes(path)), None)


def make_exporters(formats: Sequence[NamedSettings]) -> list[Exporter]:
    """Make the exporters of a run.

    Args:
        formats: The recipe's ``export.formats``.

    Returns:
        An exporter for each.

    Raises:
        ConfigError: There is no such format, or a setting is wrong.
    """
    return [EXPORTERS[given.name](**given.settings) for given in formats]
