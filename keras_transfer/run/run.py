"""A finished run: evaluate it, predict with it, explain, suggest, export."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import Inputs
from keras_transfer.data.splits.known import NOTHING_KNOWN
from keras_transfer.data.splits.splits import Splits
from keras_transfer.errors import CheckpointError, ConfigError, TransferWarning
from keras_transfer.explain import Explanation
from keras_transfer.export import EXPORTERS, Exporter, MetricDrop, Parity, Served, export_run
from keras_transfer.heads.evaluation import Report, put_side_by_side
from keras_transfer.registry import did_you_mean
from keras_transfer.run.folder import EXPORT, SAMPLES, UNKNOWN_CONTENT, damaged, prepare_folder
from keras_transfer.run.labelled_rows import find_labelled_rows
from keras_transfer.run.own_rows import RunRows
from keras_transfer.run.rows import TableOptions, refuse_options
from keras_transfer.run.stored import WRONG_TYPES
from keras_transfer.run.suggestions import Suggestion, choose, find_unlabelled
from keras_transfer.storage.sums import check_file
from keras_transfer.tasks.base import Floats, predict_examples


class Run(RunRows):
    """A finished run: evaluate it, predict with it, export it. Needs neither the data nor the pretrained weights.

    Args:
        folder: The run folder.

    Attributes:
        folder: The run folder.
        config: The recipe.
        task: The task of the recipe.
        record: The content of data.json: names of the outputs, and the rows of each split.
        target: The classes, labels or numbers that the model predicts.

    Raises:
        CheckpointError: It is not a run folder, or its run has not finished.

    Example:
        >>> run = Run("runs/cats")  # doctest: +SKIP
        >>> run.reports["test"].accuracy  # doctest: +SKIP
        >>> run.predict(["cat.jpg"])[0].label  # doctest: +SKIP
    """

    def evaluate(self, data: Any = None, *, split: str = "test", **table: Unpack[TableOptions]) -> Report:
        """Run the model over labelled examples; of pre-training, over texts.

        Args:
            data: A source, or labelled examples that Python holds, as a recipe takes them, or a mapping with
                ``source`` and its ``root``, ``suffix``, ``encoding`` or ``delimiter``; by default one of the run's own
                splits.
            split: Which of those: train, validation or test.
            **table: How a table in ``data`` is read: see :class:`TableOptions`. The run's own ``data.root`` belongs to
                its own source.

        Returns:
            The report.

        Raises:
            ConfigError: Such an option has no table, or is wrong.
            DataError: The data is not on this machine, has changed, or has classes that the model does not know.
        """
        if data is None:
            refuse_options(table)
        return self.task.evaluate(self, self.load_split(split) if data is None else self.read_source(data, **table))

    def predict_tensors(self, batch: Mapping[str, NDArray[Any]]) -> Floats:
        tensors = (batch[spec.name] for spec in self.reader.tensor_inputs)
        return put_side_by_side(self.model.predict_on_batch(self.reader.arrange(*tensors)))

    def explain(
        self, inputs: Any, outputs: Sequence[str] | None = None, **table: Unpack[TableOptions]
    ) -> list[Explanation]:
        """Explain predictions: where in an image, and which words of a text, speak for an output.

        Images get heat maps by Grad-CAM (Selvaraju et al. 2017), texts attributions by integrated gradients
        (Sundararajan et al. 2017).

        Args:
            inputs: As :meth:`predict` takes them.
            outputs: The classes, labels or numbers to explain, the same for all inputs. Of texts, a second one is what
                the first is compared with. By default of classes the predicted one and the next most probable one.
            **table: As for :meth:`predict`.

        Returns:
            One per input, in their order.

        Raises:
            InputError: The inputs are of another type; it is also a ``TypeError``.
            DataError: Inputs cannot be read; all such are named.
            ConfigError: There is no such output.
            CheckpointError: The run is one of pre-training.

        Example:
            >>> explanation = Run("runs/cats").explain("cat.jpg")[0]  # doctest: +SKIP
            >>> explanation.outputs, explanation.heat_maps[0].shape  # doctest: +SKIP
            (('cat', 'dog'), (224, 224))
        """
        read = self.read_inputs(inputs, **table)
        for note in read.notes:
            warnings.warn(note, TransferWarning, stacklevel=2)
        read.refuse_broken()
        if not self.task.explains:
            chosen: list[tuple[int, ...]] = [()] * len(read.examples)
        elif outputs is None:
            chosen = self.head.explained_outputs(predict_examples(self, read.examples), None)
        else:
            chosen = [self._find_outputs(outputs)] * len(read.examples)
        return list(self.task.explain(self, read.examples, chosen))

    def _find_outputs(self, outputs: Sequence[str]) -> tuple[int, ...]:
        """The indices of outputs by their names."""
        if isinstance(outputs, str) or not outputs:
            raise ConfigError(f"outputs: expected a sequence of names, such as ['cat']. Received: {outputs!r}.")
        names = self.target.names
        unknown = [name for name in outputs if name not in names]
        if unknown:
            raise ConfigError(f"outputs: the run has no output {unknown[0]!r}. {did_you_mean(unknown[0], names)}")
        return tuple(names.index(name) for name in outputs)

    def suggest(self, inputs: Any, *, count: int = 50, **table: Unpack[TableOptions]) -> list[Suggestion]:
        """Choose which unlabelled examples to label next: unlike one another, those first of which the model is unsure.

        Examples of which the run has labels are left out, by their content, and so are those that cannot be read and
        second copies; a warning says how many.

        Args:
            inputs: As for :meth:`predict`.
            count: How many to choose.
            **table: As for :meth:`predict`.

        Returns:
            Up to ``count`` suggestions, the one to label first at the front.

        Raises:
            InputError: The inputs are of another type.
            DataError: None of them is left.
            CheckpointError: The run is one of pre-training, or its task has no features.
        """
        read = self.read_inputs(inputs, **table)
        suggestions, notes = self.suggest_inputs(read, count=count)
        for note in (*read.notes, *notes):
            warnings.warn(note, TransferWarning, stacklevel=2)
        return suggestions

    def suggest_inputs(self, inputs: Inputs, *, count: int = 50) -> tuple[list[Suggestion], tuple[str, ...]]:
        """Suggest from inputs that :meth:`read_inputs` has read.

        Args:
            inputs: The inputs.
            count: How many to choose.

        Returns:
            As :meth:`suggest` does, and lines for the user on what is left out.

        Raises:
            DataError: None of the inputs is left.
            CheckpointError: The run's task has no features.
        """
        known = self.known_rows()
        unlabelled = find_unlabelled(inputs, known or NOTHING_KNOWN)
        notes = unlabelled.notes if known else (*unlabelled.notes, f"Labelled rows {UNKNOWN_CONTENT}.")
        examples = inputs.examples.select(unlabelled.rows)
        embedded = self.task.embed(self, examples)
        if embedded is None:
            raise CheckpointError(
                f"The task {self.config.task} has no features to compare examples by. Received: {self.folder}. Label "
                "examples that are drawn at random."
            )
        predicted, features = embedded
        margins = self.head.margins(predicted)
        suggestions = [
            Suggestion(
                rank=rank,
                name=examples.names[row],
                position=int(unlabelled.positions[row]),
                margin=None if margins is None else float(margins[row]),
                prediction=self.head.to_prediction(examples.names[row], predicted[row]),
            )
            for rank, row in enumerate(choose(features, margins, min(count, len(examples))).tolist(), start=1)
        ]
        return suggestions, notes

    def export(
        self,
        folder: str | Path | None = None,
        *,
        format: str | Exporter = "saved_model",
        data: Any = None,
        **table: Unpack[TableOptions],
    ) -> tuple[Path, Parity | MetricDrop]:
        """Write the model for serving, and check in a fresh process that it predicts what :meth:`predict` predicts.

        A quantized export is proved by the metric on labelled rows instead, before and after.

        Args:
            folder: Must not exist; by default the next version under the run's ``export/<format>``.
            format: The name of a format, or an exporter with settings of its own.
            data: For a quantized export, labelled examples as :meth:`evaluate` takes them, in place of the run's own.
            **table: How a table in ``data`` is read: see :class:`TableOptions`.

        Returns:
            The folder, and the result of the check.

        Raises:
            ConfigError: There is no such format, or ``data`` is given for one that is not quantized.
            DataError: The rows that a quantized export is proved on cannot be read.
            ExportError: It cannot be written, its predictions differ, or it loses more of the metric than is allowed.
            CheckpointError: The folder exists or cannot be made, or the run is one of pre-training.
        """
        self.check_servable()
        exporter = format if isinstance(format, Exporter) else EXPORTERS[format]()
        target = Path(folder) if folder is not None else self._next_version(exporter.name)
        if target.exists():
            raise CheckpointError(f"{target} exists. Choose another --out.")
        prepare_folder(target)
        if data is None:
            refuse_options(table)
        exporter.check(self.reader)
        samples = self.read_samples()
        rows = None
        if exporter.quantize is not None:
            rows = find_labelled_rows(self, exporter, data, table)
        elif data is not None and not isinstance(data, Splits):
            raise ConfigError("--data is for the proof of a quantized export. Add --quantize, or leave it out.")
        expected = predict_examples(self, samples)
        proof = export_run(exporter, self.served, target, samples=self.folder / SAMPLES, expected=expected, rows=rows)
        return target, proof

    def read_samples(self) -> Examples:
        """Read the examples that the run folder keeps, by which an export is proved.

        Raises:
            CheckpointError: They are missing or damaged.
        """
        check_file(self.folder, SAMPLES)
        try:
            samples = self.reader.read_samples(self.folder / SAMPLES)
        except (*WRONG_TYPES, RecursionError) as error:
            raise damaged(self.folder / SAMPLES, f"{error} is missing or of a wrong type") from error
        if not len(samples):
            raise damaged(self.folder / SAMPLES, "the examples that prove an export are missing")
        return samples

    @property
    def served(self) -> Served:
        """What an exporter writes."""
        return Served(self.model, self.head, self.reader, self.folder, self.config, self.record)

    def _next_version(self, format_name: str) -> Path:
        folder = self.folder / EXPORT / format_name
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)
