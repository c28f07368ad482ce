"""A finished run, read back from its folder."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, Unpack

import keras
from pydantic import ValidationError

from keras_transfer.config import TABLE_KEYS, OtherSource, RecipeConfig, parse_recipe, read_recipe
from keras_transfer.config.earlier import convert_earlier
from keras_transfer.console.text import show_value
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import Inputs, collect_inputs, read_inputs, refuse_unused_options
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.texts import TOKENIZER
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.known import NOTHING_KNOWN, Known, find_keys, identify
from keras_transfer.data.splits.splits import Split
from keras_transfer.data.targets.base import Target
from keras_transfer.distribution import prepare_backend
from keras_transfer.errors import CheckpointError, ConfigError, DataError, TransferWarning
from keras_transfer.explain import Explanation
from keras_transfer.export import EXPORTERS, Exporter, Parity, Served, export_run
from keras_transfer.frozen.learning_curve import LearningCurve, NoLearningCurve, read_learning_curve
from keras_transfer.heads import BrokenInput, Prediction
from keras_transfer.heads.evaluation import Report
from keras_transfer.networks.batch_norm import fuse_batch_norm
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.registry import did_you_mean
from keras_transfer.run.folder import (
    CHECKPOINTS,
    DATA,
    EXPORT,
    HEAD,
    LEARNING_CURVE,
    METRICS,
    MODEL,
    PHASES,
    RECIPE,
    SAMPLES,
    UNKNOWN_CONTENT,
    check_recipe_sum,
    check_run_folder,
    damaged,
    prepare_folder,
    read_json,
)
from keras_transfer.run.predicted import check_min_confidence
from keras_transfer.run.predictions import PREDICTIONS, Predicted, read_predictions
from keras_transfer.run.records import DataRecord, PhaseRecord, PhasesRecord, check_report, find_problem
from keras_transfer.run.suggestions import Suggestion, choose, find_unlabelled
from keras_transfer.storage.sums import check_file
from keras_transfer.tasks import TASKS, Task
from keras_transfer.tasks.base import predict_examples
from keras_transfer.tasks.earlier_runs import rows_of

_WRONG_TYPES = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, StopIteration)


class TableOptions(TypedDict, total=False):
    """How a table is read that is not the run's own source; what is None or left out is found out.

    Attributes:
        root: The folder that the paths in the table are relative to; by default the folder of the table.
        suffix: Added to each path, such as ``.jpg``.
        encoding: Of CSV, JSONL and text files, such as ``cp1252``.
        delimiter: Between the fields of a CSV: ``tab`` or one character.
    """

    root: str | Path | None
    suffix: str | None
    encoding: str | None
    delimiter: str | None


class Run:
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

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(
                f"There is no run folder {folder}. Name the folder that `keras-transfer run` printed."
            )
        check_run_folder(self.folder)
        if (self.folder / CHECKPOINTS).is_dir():
            raise CheckpointError(
                f"The run in {folder} has not finished: it is running, or was interrupted. If it was interrupted, give "
                f"its command again with --resume, or: keras-transfer run {self.folder / RECIPE} --out {folder} "
                "--resume"
            )
        missing = [name for name in (RECIPE, DATA, MODEL) if not (self.folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} is not a finished run: it lacks {', '.join(missing)}. Name a run folder.")
        recipe = self.folder / RECIPE
        self.config: RecipeConfig = parse_recipe(convert_earlier(read_recipe(recipe)), known={}, where=str(recipe))
        self.task: Task = TASKS[self.config.task]
        check_recipe_sum(self.folder)
        self.record: dict[str, Any] = read_json(self.folder / DATA, "splits")
        problem = find_problem(DataRecord, self.record)
        if problem is not None:
            raise damaged(self.folder / DATA, problem)
        check_file(self.folder, DATA)
        try:
            self.target: Target = self.task.restore_target(self.config, self.record)
        except (KeyError, TypeError) as error:
            raise damaged(self.folder / DATA, f"it lacks {error.args[0]}") from error

    @cached_property
    def head(self) -> Any:
        """The head: the meaning of the model's outputs."""
        file = self.folder / HEAD
        facts = read_json(file) if file.exists() else {}
        try:
            head = self.task.restore_head(self.config, self.target, facts)
        except _WRONG_TYPES as error:
            raise damaged(file, f"{error} is missing or of a wrong type") from error
        check_file(self.folder, HEAD)
        return head

    @cached_property
    def model(self) -> keras.Model:
        """The fine-tuned model, from what :attr:`reader` returns to predictions; of pre-training, to logits."""
        prepare_backend()
        file = self.folder / MODEL
        model = read_keras_file(file, CheckpointError)
        if not self.task.fits(model, self.target):
            raise damaged(
                file, f"the run has {self.target.headline()}, and the model has outputs of shape {model.output_shape}"
            )
        check_file(self.folder, MODEL)
        fuse_batch_norm(model)
        return model

    @cached_property
    def reader(self) -> Reader:
        """Reads examples as they were read in training."""
        check_file(self.folder, TOKENIZER)
        try:
            return self.task.restore_reader(self)
        except KeyError as error:
            raise damaged(self.folder / DATA, f"it lacks {error.args[0]}") from error

    @property
    def reports(self) -> dict[str, Report]:
        """The reports that the run itself recorded, by split."""
        file = self.folder / METRICS
        metrics = read_json(file)
        try:
            kind = self.task.report_type(self)
            reports = {name: check_report(kind.from_json(name, values)) for name, values in metrics.items()}
        except _WRONG_TYPES as error:
            reason = str(error).splitlines()[0]
            raise damaged(file, f"{reason} is missing or of a wrong type") from error
        check_file(self.folder, METRICS)
        return reports

    @cached_property
    def phases(self) -> list[PhaseRecord]:
        """What each phase trained; empty for a run of an earlier version."""
        file = self.folder / PHASES
        if not file.exists():
            return []
        values = read_json(file, "phases")
        problem = find_problem(PhasesRecord, values)
        if problem is not None:
            raise damaged(file, problem)
        return PhasesRecord.model_validate(values).phases

    @cached_property
    def predictions(self) -> dict[str, Predicted]:
        """What the run predicted for the rows that it was evaluated on, by split.

        Empty if the run was made by an earlier version, or if there were more than 200 MB of them.
        """
        file = self.folder / PREDICTIONS
        if not file.exists():
            return {}
        check_file(self.folder, PREDICTIONS)
        counts = {name: split["count"] for name, split in self.record["splits"].items()}
        try:
            return read_predictions(file, counts, len(self.target.names))
        except (OSError, ValueError) as error:
            raise damaged(file, str(error)) from error

    @property
    def learning_curve(self) -> LearningCurve | NoLearningCurve | None:
        """What more labels would gain, or why that was not measured; None if the recipe has ``report: false``."""
        file = self.folder / LEARNING_CURVE
        if not file.exists():
            return None
        values = read_json(file)
        try:
            curve = read_learning_curve(values)
        except _WRONG_TYPES as error:
            raise damaged(file, f"{error} is missing or of a wrong type") from error
        check_file(self.folder, LEARNING_CURVE)
        return curve

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
        options = _given(table)
        if data is None and options:
            key, value = next(iter(options.items()))
            raise ConfigError(f"--{key} is for the table of --data. Received: {value}. Name a table with --data.")
        return self.task.evaluate(self, self.load_split(split) if data is None else self.read_source(data, **table))

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
        """Read what is left of the run's own data.

        Args:
            name: As above.

        Returns:
            Examples, and for each row of data.json its index among them: None for one that is gone or has changed.

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
        """The rows of a split that are still there, whatever is in them."""
        if name not in self.record["splits"]:
            raise damaged(self.folder / DATA, f"it lacks the split {name}")
        # Names that look alike were classes of their own in a run that did not merge them.
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

    def read_source(self, data: Any, **table: Unpack[TableOptions]) -> Split:
        """Read another source than the run's own as one split.

        Args:
            data: As :meth:`evaluate` takes it.
            **table: As for :meth:`evaluate`.

        Raises:
            ConfigError: An option for tables has none, or is wrong.
            DataError: It cannot be read, or has classes that the model does not know.
        """
        section = dict(data) if isinstance(data, Mapping) and "source" in data else {"source": data}
        options = _given(table)
        named, given = name_objects({"test": {**section, **options}})
        other = _to_other_source(named["test"])
        config = self._config_for(other)
        split = self.task.read_split(config, other.source, self.target, given)
        for note in split.notes:
            warnings.warn(f"{other.source}: {note}", TransferWarning, stacklevel=3)
        self._warn_of_training_rows(other.source, split)
        return split

    def _warn_of_training_rows(self, source: str, split: Split) -> None:
        """Warn if the model has learned from rows on which it is to be evaluated."""
        known = self._known_rows()
        if known is None:
            return
        keys = find_keys(source, split.examples.names, identify(split.examples))
        trained = sum(known.split_of(row) == "train" for row in keys)
        if trained:
            warnings.warn(
                f"{source}: {trained:,} of {len(split):,} rows are training rows of this run, so the results are "
                "better than on new data.",
                TransferWarning,
                stacklevel=4,
            )

    def predict(
        self,
        inputs: Any,
        *,
        skip_broken: bool = False,
        min_confidence: float | None = None,
        **table: Unpack[TableOptions],
    ) -> list[Prediction]:
        """Predict for one or more images or texts.

        Args:
            inputs: One input or a sequence of inputs. Of images: a path, a PIL image, an array
                ``uint8[height, width, channels]`` or ``uint8[height, width]``, or the bytes of an image file. Of texts:
                a ``str``, which is never a path, or the ``pathlib.Path`` of a text file; of pairs: a tuple of two
                ``str``. Or the ``pathlib.Path`` of a folder, for every file in it that is not hidden; that of a table,
                or a DataFrame, for every row, by the columns that the recipe names.
            skip_broken: Whether an input that cannot be read gets a prediction whose ``error`` says why, instead of
                ending the whole call.
            min_confidence: A probability. A prediction of a class abstains if its ``score`` is below it; one of labels
                if the probability of a decision, that a label is there or that it is not, is below it.
            **table: How a table is read: see :class:`TableOptions`. The run's own ``data.root`` belongs to its own
                source.

        Returns:
            One prediction per input, in their order; a list of one for a single input.

        Raises:
            InputError: The inputs are none of these; it is also a ``TypeError``.
            ConfigError: An option for tables has none, or is wrong; ``min_confidence`` is not a probability, or the run
                predicts numbers.
            DataError: Inputs cannot be read; all such are named.
            CheckpointError: The run is one of pre-training.
        """
        read = self.read_inputs(inputs, **table)
        for note in read.notes:
            warnings.warn(note, TransferWarning, stacklevel=2)
        return self.predict_inputs(read, skip_broken=skip_broken, min_confidence=min_confidence)

    def explain(
        self, inputs: Any, outputs: Sequence[str] | None = None, *, root: str | Path | None = None
    ) -> list[Explanation]:
        """Explain predictions: where in an image, and which words of a text, speak for an output.

        Images get heat maps by Grad-CAM (Selvaraju et al. 2017), texts attributions by integrated gradients
        (Sundararajan et al. 2017).

        Args:
            inputs: As :meth:`predict` takes them.
            outputs: The classes, labels or numbers to explain, the same for all inputs. Of texts, a second one is what
                the first is compared with. By default of classes the predicted one and the next most probable one.
            root: As for :meth:`predict`.

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
        read = self.read_inputs(inputs, root=root)
        for note in read.notes:
            warnings.warn(note, TransferWarning, stacklevel=2)
        read.refuse_broken()
        if outputs is None:
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

    def parse_inputs(self, paths: Sequence[str], texts: Sequence[str], stdin: BinaryIO) -> list[Any]:
        """Turn the words of a command line into what :meth:`read_inputs` takes.

        Args:
            paths: Files, folders and tables; ``-`` is standard input, whose lines are inputs.
            texts: The values of ``--text``.
            stdin: Standard input.

        Raises:
            ConfigError: The run does not take texts.
            CheckpointError: The run is one of pre-training.
        """
        self._check_servable()
        kind = self.task.inputs(self.config)
        given = [[kind.from_line(line) for line in _read_lines(stdin)] if path == "-" else Path(path) for path in paths]
        return [*given, [kind.from_text(text) for text in texts]] if texts else given

    def read_inputs(self, *given: Any, **table: Unpack[TableOptions]) -> Inputs:
        """Read what :meth:`predict` accepts, without predicting yet.

        Args:
            *given: Each as :meth:`predict` takes it; their inputs follow one another.
            **table: As for :meth:`predict`.

        Returns:
            The inputs, those that cannot be read included.

        Raises:
            InputError: One is of another type.
            ConfigError: An option for tables has none, or is wrong.
            DataError: A folder or a table cannot be read.
            CheckpointError: The run is one of pre-training.
        """
        self._check_servable()
        options = _given(table)
        other = _to_other_source({"source": self.config.data.source, **options})
        kind = self.task.inputs(self._config_for(other))
        refuse_unused_options(given, kind, options)
        parts = [collect_inputs(part, kind, encoding=other.encoding, delimiter=other.delimiter) for part in given]
        return read_inputs(parts, kind)

    def _config_for(self, other: OtherSource) -> RecipeConfig:
        """The recipe as it applies to another source than the run's own."""
        data = self.config.data
        for key in sorted(other.model_fields_set - type(data).model_fields.keys()):
            raise ConfigError(
                f"--{key} is for tables of paths, and this run takes {self.task.inputs(self.config).plural}. Leave it "
                "out."
            )
        return self.config.model_copy(update={"data": data.for_source(other, prefix="--")})

    def predict_inputs(
        self, inputs: Inputs, *, skip_broken: bool = False, min_confidence: float | None = None
    ) -> list[Prediction]:
        """Predict for inputs that :meth:`read_inputs` has read.

        Args:
            inputs: The inputs.
            skip_broken: As for :meth:`predict`.
            min_confidence: As for :meth:`predict`.

        Raises:
            DataError: Inputs cannot be read; all such are named.
            ConfigError: ``min_confidence`` is not a probability, or the run predicts numbers.
        """
        if min_confidence is not None:
            check_min_confidence(self.head, min_confidence)
        if not skip_broken:
            inputs.refuse_broken()
        answers: Iterable[Prediction] = self.task.predict(self, inputs.examples) if len(inputs.examples) else ()
        if min_confidence is not None:
            answers = [answer.abstain_below(min_confidence) for answer in answers]
        predicted = iter(answers)
        return [
            BrokenInput(name, inputs.problems[place]) if place in inputs.problems else next(predicted)
            for place, name in enumerate(inputs.names)
        ]

    def suggest(self, inputs: Any, *, count: int = 50, **table: Unpack[TableOptions]) -> list[Suggestion]:
        """Choose which unlabelled examples to label next: unlike one another, those first of which the model is unsure.

        Examples of which the run has labels are left out, by their content, and so are those that cannot be read and
        second copies; a warning tells how many.

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
        known = self._known_rows()
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

    def _known_rows(self) -> Known | None:
        """The rows of which the run has labels; None if an early version wrote it, which knows them by name alone."""
        try:
            return rows_of(self.folder, self.config.data, self.record)
        except KeyError:
            return None

    def export(
        self, folder: str | Path | None = None, *, format: str | Exporter = "saved_model"
    ) -> tuple[Path, Parity]:
        """Write the model for serving, and check in a fresh process that it predicts what :meth:`predict` predicts.

        Args:
            folder: Must not exist; by default the next version under the run's ``export/<format>``.
            format: The name of a format, or an exporter with settings of its own.

        Returns:
            The folder, and the result of the check.

        Raises:
            ConfigError: There is no such format.
            ExportError: It cannot be written, or its predictions differ.
            CheckpointError: The folder exists or cannot be made, or the run is one of pre-training.
        """
        self._check_servable()
        exporter = format if isinstance(format, Exporter) else EXPORTERS[format]()
        target = Path(folder) if folder is not None else self._next_version(exporter.name)
        if target.exists():
            raise CheckpointError(f"{target} exists. Choose another --out.")
        prepare_folder(target)
        check_file(self.folder, SAMPLES)
        try:
            samples = self.reader.read_samples(self.folder / SAMPLES)
        except (*_WRONG_TYPES, RecursionError) as error:
            raise damaged(self.folder / SAMPLES, f"{error} is missing or of a wrong type") from error
        if not len(samples):
            raise damaged(self.folder / SAMPLES, "the examples that prove an export are missing")
        served = Served(self.model, self.head, self.reader, self.folder)
        expected = predict_examples(self, samples)
        return target, export_run(exporter, served, target, samples=self.folder / SAMPLES, expected=expected)

    def _check_servable(self) -> None:
        refusal = self.task.refusal(self)
        if refusal is not None:
            raise CheckpointError(refusal)

    def _next_version(self, format_name: str) -> Path:
        folder = self.folder / EXPORT / format_name
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)


def _given(table: TableOptions) -> dict[str, str]:
    """The options that are set."""
    return {key: str(value) for key, value in table.items() if value is not None}


def _to_other_source(section: Mapping[str, Any]) -> OtherSource:
    try:
        return OtherSource.model_validate(section)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            key = str(detail["loc"][0]) if detail["loc"] else ""
            if key in TABLE_KEYS:
                reason = detail["msg"].removeprefix("Value error, ")
                reason = "expected auto, or a point and the suffix" if key == "suffix" else reason
                raise ConfigError(f"--{key}: {reason}. Received: {show_value(detail['input'])}.") from error
        keys = ", ".join(OtherSource.model_fields)
        raise DataError(
            f"A source is a name, an object or a mapping with the keys {keys}. Received: {section}."
        ) from error


def _read_lines(stdin: BinaryIO) -> list[str]:
    """A byte that is not UTF-8 becomes a surrogate. An empty line in the middle counts: each line has its answer."""
    text = stdin.read().decode("utf-8-sig", "surrogateescape")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]
