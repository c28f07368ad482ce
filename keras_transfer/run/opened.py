"""Open a run folder, or a file that a run exported, to predict with it."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.config.deciding import convert_earlier
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.records import find_problem
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.tables.tables import some
from keras_transfer.errors import CheckpointError, ConfigError, ExportError
from keras_transfer.export import EXPORTERS, Description, Exporter, find_exporter
from keras_transfer.export.description import damaged, describe_inputs
from keras_transfer.export.loading import Serve, load_artifact, shorten_error
from keras_transfer.export.tensor_graph import FEATURES
from keras_transfer.heads.evaluation import Report, stack_rows
from keras_transfer.networks.types import Batches
from keras_transfer.run.folder import RECIPE
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.records import ServedRecord
from keras_transfer.run.rows import TableOptions
from keras_transfer.run.run import Run
from keras_transfer.run.stored import WRONG_TYPES
from keras_transfer.storage.inside import check_inside
from keras_transfer.tasks import TASKS
from keras_transfer.tasks.records import Floats


class ExportedModel(Predictor):
    """A model that a run exported: evaluate it and predict with it. Needs neither the run folder nor its Keras model.

    The file holds the network and a description of everything else: names, thresholds, how inputs are read. The runtime
    of its format computes predictions; everything else is as for the run.

    Args:
        path: An ``.onnx`` or ``.tflite`` file, a SavedModel, or the folder of either.

    Attributes:
        path: The path as given.
        exporter: The class of its format.
        description: The metadata in the file.
        config: The part of the recipe on which predictions depend.
        task: The task of the recipe.
        record: The part of data.json that prediction needs, such as the names of the outputs.
        target: The classes, labels or numbers that the model predicts.

    Raises:
        ExportError: The file is not an exported model, or is damaged.

    Example:
        >>> model = ExportedModel("runs/cats/export/onnx/1/model.onnx")  # doctest: +SKIP
        >>> model.predict("cat.jpg")[0].label  # doctest: +SKIP
        'cat'
    """

    has_model = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        exporter = find_exporter(self.path)
        if exporter is None:
            raise ExportError(
                f"{self.path} is not an exported model: none of the formats {', '.join(EXPORTERS)} recognizes it. Name "
                "an exported file or folder."
            )
        self.exporter: type[Exporter] = exporter
        self.folder = exporter.find_reader_files(self.path)
        self._check_links()
        self.description: Description = exporter.read_description(self.path)
        values = self.description.recipe
        try:
            self.config = parse_recipe(convert_earlier(dict(values)), known={}, where=f"The recipe in {self.path}")
        except RecursionError as error:
            raise self._damaged("its recipe is nested too deep") from error
        if self.config.task != self.description.task:
            raise self._damaged(f"its task is {self.description.task}, but its recipe's task is {self.config.task}")
        self.task = TASKS[self.config.task]
        self.record = dict(self.description.record)
        problem = find_problem(ServedRecord, self.record)
        if problem is not None:
            raise self._damaged(f"record.{problem}")
        try:
            self.target = self.task.restore_target(self.config, self.record)
        except WRONG_TYPES as error:
            raise self._damaged(f"record: {error} is missing or has the wrong type") from error
        if tuple(self.target.names) != self.description.names:
            raise self._damaged("names and record have different names")

    @cached_property
    def head(self) -> Any:
        try:
            head = self.task.restore_head(self, dict(self.description.head))
        except WRONG_TYPES as error:
            raise self._damaged(f"head: {error} is missing or has the wrong type") from error
        if head.predictions_output != self.description.predictions_output:
            raise self._damaged(
                f"its predictions output is {self.description.predictions_output}; expected {head.predictions_output}"
            )
        return head

    @property
    def model(self) -> keras.Model:
        """An exported model has none."""
        raise ExportError(
            f"{self.path} is an exported model; this operation needs the Keras model. Name the run folder instead."
        )

    @property
    def input_shape(self) -> Any:
        shapes = {one.name: one.shape for one in self.description.inputs}
        return next(iter(shapes.values())) if len(shapes) == 1 else shapes

    @cached_property
    def reader(self) -> Reader:
        try:
            reader = self.task.restore_reader(self)
        except WRONG_TYPES as error:
            raise self._damaged(f"inputs or record: {error} is missing or has the wrong type") from error
        if describe_inputs(reader) != self.description.inputs:
            raise self._damaged("its inputs do not match its recipe")
        return reader

    def evaluate(self, data: Any = None, **table: Unpack[TableOptions]) -> Report:
        """Run the model over labelled examples.

        Args:
            data: As :meth:`Run.evaluate` takes it. An exported model does not hold the rows of its run.
            **table: How a table in ``data`` is read: see :class:`TableOptions`.

        Returns:
            The report.

        Raises:
            ConfigError: ``data`` is missing; or an option for tables is set without a table, or is wrong.
            DataError: The data is not on this machine, or has classes that the model was not trained on.
            ExportError: The model cannot be run.
        """
        if data is None:
            raise ConfigError(
                f"{self.path} is an exported model, which holds no rows of its run. Name labelled examples with --data "
                "(data), or evaluate the run folder."
            )
        self.check_servable()
        return self.task.evaluate(self, self.read_source(data, **table))

    def predict_batches(self, batches: Batches) -> Floats:
        return stack_rows([self.predict_tensors(self.reader.name_tensors(batch)) for batch in batches])

    def predict_tensors(self, batch: Mapping[str, NDArray[Any]]) -> Floats:
        """Predict for a batch of the reader's ``tensor_inputs``, by name; one thread may call it at a time.

        Returns:
            ``float32[batch, outputs]``, calibrated.

        Raises:
            ExportError: The runtime fails, or returns something else.
        """
        predicted, _ = self._run(batch)
        return predicted

    def embed_batches(self, batches: Batches) -> tuple[Floats, Floats] | None:
        parts = [self._run(self.reader.name_tensors(batch)) for batch in batches]
        features = [part for _, part in parts if part is not None]
        if not features:
            return None
        return np.concatenate([predicted for predicted, _ in parts]), np.concatenate(features)

    def _run(self, batch: Mapping[str, NDArray[Any]]) -> tuple[Floats, Floats | None]:
        """Predictions and, if the exported model has that output, features."""
        specs = self.reader.tensor_inputs
        tensors = {spec.name: np.asarray(batch[spec.name], spec.dtype.as_numpy_dtype) for spec in specs}
        serve = self._serve
        try:
            outputs = serve(tensors)
            predicted = self.head.read_predictions(outputs)
            features = np.asarray(outputs[FEATURES], np.float32) if FEATURES in outputs else None
        except Exception as error:  # runtimes raise anything
            raise ExportError(
                f"The {self.exporter.title} {self.path} cannot be run: {shorten_error(error)}. Export the run again, "
                "or use another copy."
            ) from error
        rows = len(next(iter(tensors.values())))
        width = self.head.prediction_width
        if predicted.ndim != 2 or len(predicted) != rows or (width is not None and predicted.shape[1] != width):
            raise self._damaged(
                f"the model returns {self.description.predictions_output} of shape {list(predicted.shape)}; expected "
                f"{[rows, 'any' if width is None else width]}"
            )
        if features is not None and (features.ndim != 2 or len(features) != rows):
            raise self._damaged(f"the model returns {FEATURES} of shape {list(features.shape)}; expected [{rows}, dim]")
        return predicted, features

    @cached_property
    def _serve(self) -> Serve:
        serve, names = load_artifact(self.exporter, self.path, [spec.name for spec in self.reader.tensor_inputs])
        if names != self.description.names:
            raise self._damaged("its names are not those of the model")
        return serve

    def _check_links(self) -> None:
        """Refuse links that lead out of the exported model, which may come from an untrusted source."""
        artifact = self.exporter.find_artifact(self.path)
        folders = [artifact, self.folder] if artifact.is_dir() else []
        tokenizer = self.folder / TOKENIZER
        if tokenizer.is_symlink():
            raise self._damaged(f"{tokenizer} is a link")
        for folder in (*folders, tokenizer):
            if folder.is_dir():
                check_inside(folder, folders=("assets", "variables"))

    def _damaged(self, reason: str) -> ExportError:
        return damaged(str(self.path), reason)


def open_model(path: str | Path) -> Run | ExportedModel:
    """Open a run folder or an exported model to predict with it.

    Args:
        path: A run folder, or an exported model: an ``.onnx`` or ``.tflite`` file, a SavedModel, or the folder of
            either.

    Returns:
        The run or the exported model. Both predict and evaluate in the same way.

    Raises:
        CheckpointError: It is neither of them, or a run that has not finished.
        ExportError: It is a damaged exported model.

    Example:
        >>> open_model("runs/cats").predict("cat.jpg")  # doctest: +SKIP
        >>> open_model("runs/cats/export/litert/1").evaluate("more_cats/")  # doctest: +SKIP
    """
    path = Path(path)
    if (path / RECIPE).exists():
        return Run(path)
    if find_exporter(path) is not None:
        return ExportedModel(path)
    if path.is_dir():
        versions = [entry for entry in sorted(path.iterdir()) if find_exporter(entry) is not None]
        if versions:
            raise CheckpointError(
                f"{path} holds exported models, or versions of one. Name one of them: {some(map(str, versions))}."
            )
    elif path.exists():
        raise CheckpointError(
            f"There is no run folder {path}, and no exported model either: none of the formats {', '.join(EXPORTERS)} "
            "recognizes the file. Name a run folder or an exported model."
        )
    return Run(path)
