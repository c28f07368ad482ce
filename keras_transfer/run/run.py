"""A finished run: evaluate it, predict with it, explain, suggest, export."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import Inputs
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known, identify
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.errors import CheckpointError, ConfigError, DataError, TransferWarning
from keras_transfer.explain import Explanation
from keras_transfer.export import EXPORTERS, Exporter, LabelledRows, MetricDrop, Parity, Served, export_run
from keras_transfer.heads.evaluation import Report, put_side_by_side
from keras_transfer.registry import did_you_mean
from keras_transfer.run.folder import DATA, EXPORT, SAMPLES, UNKNOWN_CONTENT, damaged, prepare_folder
from keras_transfer.run.predictor import Predictor
from keras_transfer.run.rows import TableOptions, refuse_options
from keras_transfer.run.stored import WRONG_TYPES, StoredRun
from keras_transfer.run.suggestions import Suggestion, choose, find_unlabelled
from keras_transfer.storage.sums import check_file
from keras_transfer.tasks.base import predict_examples
from keras_transfer.tasks.earlier_runs import rows_of
from keras_transfer.tasks.records import Floats

MOST_CALIBRATION_ROWS = 200
"""More change no range by much: docs/quantization.md."""


class Run(StoredRun, Predictor):
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
        """Run the model over labelled examples; for pre-training, over texts.

        Args:
            data: A source or labelled Python objects, as a recipe takes them, or a mapping with ``source`` and its
                ``root``, ``suffix``, ``encoding`` or ``delimiter``; by default one of the run's own splits.
            split: Which of the run's splits: train, validation or test.
            **table: How a table in ``data`` is read: see :class:`TableOptions`. The run's own ``data.root`` applies
                only to its own source.

        Returns:
            The report.

        Raises:
            ConfigError: An option for tables is set without a table, or is wrong.
            DataError: The data is not on this machine, has changed, or has classes that the model was not trained on.
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
        """Explain predictions: which regions of an image, or which words of a text, are evidence for an output.

        Images get heat maps by Grad-CAM (Selvaraju et al. 2017), texts attributions by integrated gradients
        (Sundararajan et al. 2017).

        Args:
            inputs: As :meth:`predict` takes them.
            outputs: The classes, labels or numbers to explain, the same for all inputs. For texts, the first is
                compared with the second. The default for classes is the predicted class and the next most probable one.
            **table: As for :meth:`predict`.

        Returns:
            One per input, in their order.

        Raises:
            InputError: The inputs are of another type; it is also a ``TypeError``.
            DataError: Inputs cannot be read; all of them are named.
            ConfigError: An output does not exist.
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
        """Choose which unlabelled examples to label next: a diverse set, those of which the model is least sure first.

        Examples of which the run has labels are left out, by their content, and so are unreadable examples and
        duplicates; a warning says how many.

        Args:
            inputs: As for :meth:`predict`.
            count: How many to choose.
            **table: As for :meth:`predict`.

        Returns:
            Up to ``count`` suggestions, in the order in which to label them.

        Raises:
            InputError: The inputs are of another type.
            DataError: No example is left.
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
            The suggestions, as :meth:`suggest` returns them, and lines for the user on what is left out.

        Raises:
            DataError: No input is left.
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
        """Write the model for serving, and verify in a fresh process that its predictions match.

        For a quantized export, the metric on labelled rows is compared before and after instead.

        Args:
            folder: Must not exist; by default the next version under the run's ``export/<format>``.
            format: The name of a format, or an exporter with settings of its own.
            data: For a quantized export, labelled examples as :meth:`evaluate` takes them, in place of the run's own.
            **table: How a table in ``data`` is read: see :class:`TableOptions`.

        Returns:
            The folder, and the result of the check.

        Raises:
            ConfigError: The format does not exist, or ``data`` is given for one that is not quantized.
            DataError: The rows for the check of a quantized export cannot be read.
            ExportError: The export cannot be written, its predictions differ, or the metric drops more than allowed.
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
            raise ConfigError("--data is only used to check a quantized export. Add --quantize, or leave it out.")
        expected = predict_examples(self, samples)
        proof = export_run(exporter, self.served, target, samples=self.folder / SAMPLES, expected=expected, rows=rows)
        return target, proof

    def read_samples(self) -> Examples:
        """Read the examples in the run folder with which an export is verified.

        Raises:
            CheckpointError: They are missing or damaged.
        """
        check_file(self.folder, SAMPLES)
        try:
            samples = self.reader.read_samples(self.folder / SAMPLES)
        except (*WRONG_TYPES, RecursionError) as error:
            raise damaged(self.folder / SAMPLES, f"{error} is missing or has the wrong type") from error
        if not len(samples):
            raise damaged(self.folder / SAMPLES, "the examples for verifying an export are missing")
        return samples

    @property
    def served(self) -> Served:
        """What an exporter receives."""
        return Served(self.model, self.head, self.reader, self.folder, self.config, self.record)

    def _next_version(self, format_name: str) -> Path:
        folder = self.folder / EXPORT / format_name
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)

    def load_split(self, name: str) -> Split:
        """Read rows of the run's own data again.

        Args:
            name: ``train``, ``validation`` or ``test``.

        Returns:
            The same rows in the order of data.json.

        Raises:
            DataError: The data is not on this machine, or has changed.
            CheckpointError: The run has no such split.
        """
        rows = self._reload(name)
        if rows.fingerprint(self.target) != self.record["splits"][name]["fingerprint"]:
            raise self._changed(name)
        return rows

    def load_remaining(self, name: str) -> tuple[Examples, list[int | None]]:
        """Read the part of the run's own data that still exists.

        Returns:
            Examples, and for each row of data.json its index among them: None for a row that is missing or has changed.

        Raises:
            DataError: The data is not on this machine, or cannot be compared.
            CheckpointError: The run has no such split.
        """
        examples, record = self._reload(name).examples, self.record["splits"][name]
        if len(record.get("hashes", ())) != len(record["rows"]):
            raise self._changed(name)
        there = {key: index for index, key in enumerate(zip(examples.names, identify(examples), strict=True))}
        recorded = zip((row[0] for row in record["rows"]), record["hashes"], strict=True)
        return examples, [there.get(key) for key in recorded]

    def _reload(self, name: str) -> Split:
        """The rows of a split that still exist, whatever their content."""
        if name not in self.record["splits"]:
            raise damaged(self.folder / DATA, f"it lacks the split {name}")
        # Class names that look alike were separate classes in a run that did not merge them.
        apart = self.config.data.model_copy(update={"merge_labels": bool(self.config.data.merge_labels)})
        splits = self.task.reload_splits(self.config.model_copy(update={"data": apart}), self.record)
        if set(splits.target.names) != set(self.target.names):
            raise self._changed(name)
        rows = {split.name: split for split in splits.with_names(self.target)}[name]
        recorded = {row[0] for row in self.record["splits"][name]["rows"]}
        # What the run's scan left out as broken is left out again.
        rows = rows.select([index for index, name in enumerate(rows.examples.names) if name in recorded])
        if not recorded:
            raise DataError(f"The run has no {name} rows. Name a source with --data.")
        return rows

    def _changed(self, name: str) -> DataError:
        has_hashes = "hashes" in self.record["splits"][name]
        change = "have changed since the run" if has_hashes else UNKNOWN_CONTENT
        return DataError(f"The {name} rows of {self.config.data.source} {change}. Name a source with --data.")

    def known_rows(self) -> Known | None:
        """The rows of which the run has labels; None if an early version wrote the run, which recorded only names."""
        try:
            return rows_of(self.folder, self.config.data, self.record)
        except KeyError:
            return None


def find_labelled_rows(run: Run, exporter: Exporter, data: Any, table: TableOptions) -> LabelledRows:
    """Find the rows for an exporter that quantizes.

    Args:
        exporter: It decides whether there are rows to calibrate on.
        data: A source in place of the run's own data. Some of its rows are used for calibration, if that is needed, and
            the others for the check. Or the splits of the run, if they are in memory; or None, to read them again.
        table: How a table in ``data`` is read.

    Returns:
        By default the test rows, or the validation rows of a run without test rows; and training rows for calibration.

    Raises:
        ConfigError: An option for tables is wrong.
        DataError: The data is not on this machine, has changed, or is too small.
    """
    if isinstance(data, Splits):
        proof = data.test if len(data.test) else data.validation
        return _divide(run, exporter, proof, data.train)
    if data is not None:
        return _divide(run, exporter, run.read_source(data, **table), None)
    counts = {name: split["count"] for name, split in run.record["splits"].items()}
    name = next((name for name in ("test", "validation") if counts.get(name)), None)
    if name is None:
        raise DataError(
            f"quantize: {exporter.quantize} is checked on labelled rows that the model was not trained on. The run has "
            "no test rows and no validation rows. Name other labelled examples with --data."
        )
    try:
        return _divide(
            run, exporter, run.load_split(name), run.load_split("train") if exporter.calibrates(run.reader) else None
        )
    except DataError as error:
        reason = str(error).removesuffix(" Name a source with --data.")
        raise DataError(
            f"quantize: {exporter.quantize} is checked on the {name} rows of the run, which cannot be read: {reason} "
            "Name other labelled examples with --data."
        ) from error


def _divide(run: Run, exporter: Exporter, proof: Split, train: Split | None) -> LabelledRows:
    """Choose the rows for calibration from training rows; without these, up to half of the rows for the check."""
    if not exporter.calibrates(run.reader):
        return LabelledRows(proof)
    rows = len(proof) // 2 if train is None else len(train)
    if not rows or not len(proof):
        raise DataError(
            f"quantize: {exporter.quantize} needs rows for calibration and other rows for the check. Received: "
            f"{len(proof):,} labelled examples. Name more of them with --data."
        )
    # Evenly over the rows, which may be in the order of their classes.
    among = len(proof) if train is None else len(train)
    chosen = np.unique(np.linspace(0, among - 1, min(MOST_CALIBRATION_ROWS, rows)).astype(np.int64))
    if train is not None:
        return LabelledRows(proof, train.select(chosen))
    return LabelledRows(proof.select(np.setdiff1d(np.arange(among), chosen)), proof.select(chosen))
