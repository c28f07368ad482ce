"""The run folder, and the object that reads it back."""

import json
import shutil
import time
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones.texts.encoder import TextEncoder
from keras_transfer.config import (
    ImageClassificationConfig,
    RecipeConfig,
    TextClassificationConfig,
    TextDataConfig,
    TextPretrainingConfig,
    parse_recipe,
    read_recipe,
)
from keras_transfer.data.checks.texts import check_texts
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.readers.images import PictureReader
from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.texts import TOKENIZER, TextReader
from keras_transfer.data.sources.python_objects import describe_object
from keras_transfer.data.splits.splits import Split, Splits, load_splits, read_split
from keras_transfer.data.splits.unlabelled import load_unlabelled, read_unlabelled_split
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.distribution import Distribution, prepare_backend
from keras_transfer.errors import CheckpointError, ConfigError, DataError
from keras_transfer.evaluation import Report, predict
from keras_transfer.export import Parity, export_saved_model
from keras_transfer.heads import Head, MaskedReport, Prediction, TargetHead, evaluate_masked, restore_head
from keras_transfer.networks.batch_norm import fuse_batch_norm
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.storage.atomic import whole

RECIPE, ENVIRONMENT, DATA = "recipe.yaml", "environment.json", "data.json"
HISTORY, METRICS, MODEL = "history.jsonl", "metrics.json", "model.keras"
HEAD, PLOT, SAMPLES, EXPORT = "head.json", "history.png", "samples", "export/saved_model"
ADAPTERS, CHOICE = "adapters.npz", "choice.json"
CHECKPOINTS = "checkpoints"
"""There from the beginning of a run to its end: a folder that has it holds a run that is not finished."""

_SAMPLE_COUNT = 16
_PREDICT_BATCH = 32


def choose_folder(task: str, out: str | Path | None, *, resume: bool) -> Path:
    """Return the folder for a run: the one that is named, or by default ``runs/<task>-<date>-<time>``.

    Raises:
        ConfigError: None is named that could be resumed.
    """
    if out is not None:
        return Path(out)
    if resume:
        raise ConfigError("--resume goes on with a run that was interrupted: name its folder with --out.")
    return Path("runs") / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"


def prepare_folder(folder: Path) -> None:
    """Check that a run may be written to a folder, without writing anything.

    Raises:
        CheckpointError: It is a file, is not empty, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"The output folder {folder} is a file. Choose another --out.")
    if (folder / CHECKPOINTS).is_dir():
        raise CheckpointError(
            f"The output folder {folder} holds an unfinished run. Add --resume, or choose another --out."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(f"The output folder {folder} is not empty. Choose another --out, or empty it.")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not _is_writable(existing):
        raise CheckpointError(
            f"The output folder {folder} cannot be made: {existing} cannot be written. Choose another --out."
        )


def check_shared(folder: Path, distribution: Distribution) -> None:
    """Check that all processes of a run see the folder that the chief writes: any of them may be the next chief.

    Raises:
        ConfigError: Some do not; all processes say so.
    """
    mark = folder / distribution.broadcast(f".seen-by-all-{uuid.uuid4().hex}")
    if distribution.is_chief:
        mark.touch()
    distribution.barrier()
    seen = distribution.gather(mark.exists())
    if distribution.is_chief:
        mark.unlink()
    blind = [str(index) for index, sees in enumerate(seen) if not sees]
    if blind:
        raise ConfigError(
            f"Worker {', '.join(blind)} does not see the run folder that worker 0 writes. Received: "
            f"{folder.absolute()} on worker {distribution.process}. With --out, name one folder to all of them, on a "
            "file system that they share."
        )


def find_run(folder: Path) -> Literal["none", "unfinished", "finished"]:
    """Tell what there is to resume in a folder.

    Raises:
        CheckpointError: It holds something else, or cannot be written.
    """
    if (folder / CHECKPOINTS).is_dir():
        return "unfinished"
    if not folder.is_dir() or not any(folder.iterdir()):
        prepare_folder(folder)
        return "none"
    missing = [name for name in (RECIPE, MODEL, METRICS) if not (folder / name).is_file()]
    if not missing:
        return "finished"
    if missing == [METRICS]:
        raise CheckpointError(
            f"The run in {folder} ended because its loss became no number, and would do so again: there is nothing to "
            "resume. Change the recipe, and choose another --out."
        )
    raise CheckpointError(f"{folder} holds no run that could be resumed. Name a run folder, or a new one.")


def _is_writable(folder: Path) -> bool:
    """Try it: access rights alone do not tell of read-only file systems."""
    probe = folder / ".keras-transfer-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


class Run:
    """A finished run: evaluate it, predict with it, export it. Needs neither the data nor the pretrained weights.

    Args:
        folder: The run folder.

    Raises:
        CheckpointError: It is no run folder, or one that did not finish.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise CheckpointError(
                f"There is no run folder {folder}. Name the folder that `keras-transfer run` printed."
            )
        if (self.folder / CHECKPOINTS).is_dir():
            raise CheckpointError(
                f"The run in {folder} is not finished: it goes on, or was interrupted. Where it was, give its command "
                f"again with --resume, or: keras-transfer run {self.folder / RECIPE} --out {folder} --resume"
            )
        missing = [name for name in (RECIPE, DATA, MODEL) if not (self.folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} is no finished run: it lacks {', '.join(missing)}. Name a run folder.")
        self.config: RecipeConfig = parse_recipe(
            read_recipe(self.folder / RECIPE), known={}, where=str(self.folder / RECIPE)
        )
        kind = TARGETS["none" if self._is_pretraining else self.config.data.target]
        self._data: dict[str, Any] = _read_json(self.folder / DATA, kind.names_key, "splits")
        self.target: Target = kind(tuple(self._data[kind.names_key]))

    @cached_property
    def head(self) -> TargetHead:
        """What the model's outputs mean."""
        file = self.folder / HEAD
        facts = _read_json(file) if file.exists() else {}
        try:
            return restore_head(self.config, self.target.names, facts)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, f"{error} is missing or of a wrong kind") from error

    @cached_property
    def model(self) -> keras.Model:
        """The fine-tuned model, from what :attr:`reader` gives to predictions; of pre-training, to logits."""
        prepare_backend()
        file = self.folder / MODEL
        model = read_keras_file(file, CheckpointError)
        if not self._is_pretraining and model.output_shape != (None, len(self.target.names)):
            raise _damaged(file, f"the run has {self.target.headline()}, and the model gives {model.output_shape}")
        fuse_batch_norm(model)
        return model

    @property
    def reports(self) -> dict[str, Report]:
        """The reports that the run itself recorded, by split."""
        file = self.folder / METRICS
        metrics = _read_json(file)
        try:
            kind: type[Report] = MaskedReport if self._is_pretraining else self.head.report_type
            return {name: kind.from_json(name, values) for name, values in metrics.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, f"{error} is missing or of a wrong kind") from error

    @cached_property
    def reader(self) -> Reader:
        """Reads examples as they were read in training."""
        config = self.config
        if isinstance(config, TextClassificationConfig | TextPretrainingConfig):
            encoder = TextEncoder.load(self.folder / TOKENIZER)
            options: dict[str, Any] = {
                "segments": 1 if config.data.text_pair is None else 2,
                "limit": self._data["predict_length"],
                "pads_to_longest": self._data["pads_to_longest"],
            }
            if isinstance(config, TextPretrainingConfig):
                return MaskedTextReader(encoder, rate=config.head.mask_selection_rate, seed=config.seed, **options)
            return TextReader(encoder, **options)
        if isinstance(config, ImageClassificationConfig):
            return PictureReader(
                image_size=self.model.input_shape[1],
                channels=config.data.channels,
                resize=config.data.resize,
                augmentation=config.augmentation,
                seed=config.seed,
                max_pixels=config.data.max_pixels,
            )
        raise _damaged(self.folder / RECIPE, f"there is no task {config.task}")

    @property
    def _is_pretraining(self) -> bool:
        return isinstance(self.config, TextPretrainingConfig)

    def _refuse_to_serve(self) -> None:
        if self._is_pretraining:
            raise CheckpointError(
                f"Run {self.folder} is one of pre-training (task {self.config.task}): it knows no classes, and "
                f"there is nothing to serve. Train a classifier from it with backbone.weights={self.folder}."
            )

    def _predict(self, examples: Examples) -> NDArray[np.float32]:
        n = len(examples)
        split = self.reader.prepare(Split("inputs", examples, np.zeros(n, np.int64), np.ones(n, np.float32)))
        batches = self.reader.evaluation_batches(split, batch_size=_PREDICT_BATCH)
        order = self.reader.evaluation_order(split, batch_size=_PREDICT_BATCH)
        return predict(self.model, batches, np.concatenate(order))

    def evaluate(self, data: Any = None, *, split: str = "test") -> Report:
        """Run the model over labelled examples; of pre-training, over texts.

        Args:
            data: A source, or labelled examples that Python holds, as a recipe takes them; without it, one of the run's
                own splits.
            split: Which of those: train, validation or test.

        Returns:
            The report.

        Raises:
            DataError: The data is not on this machine, has changed, or has classes that the model does not know.
        """
        rows = self._own_split(split) if data is None else self._other_source(data)
        if self._is_pretraining:
            batches = self.reader.evaluation_batches(self.reader.prepare(rows), batch_size=_PREDICT_BATCH)
            return evaluate_masked(self.model, batches, split=rows.name, n=len(rows))
        return self.head.report(rows.name, self._predict(rows.examples), rows.targets)

    def _own_split(self, name: str) -> Split:
        if isinstance(self.config, TextPretrainingConfig):
            splits = tuple(load_unlabelled(self.config.data, seed=self.config.seed))
        else:
            splits = tuple(load_splits(self.config.data, seed=self.config.seed))
        if isinstance(self.config.data, TextDataConfig):  # wrong bytes are replaced as the run replaced them
            splits = tuple(check_texts(splits, broken=self.config.data.broken)[0])
        rows = {split.name: split for split in splits}[name]
        recorded = {name for name, _ in self._data["splits"][name]["rows"]}
        # What the run's scan left out as broken is left out again.
        rows = rows.select([index for index, name in enumerate(rows.examples.names) if name in recorded])
        if not len(rows):
            raise DataError(f"The run has no {name} rows. Name a source with --data.")
        if rows.fingerprint(self.target) != self._data["splits"][name]["fingerprint"]:
            raise DataError(
                f"The {name} rows of {self.config.data.source} are no longer those of the run. "
                "Name a source with --data."
            )
        return rows

    def _other_source(self, data: Any) -> Split:
        name = str(data) if isinstance(data, (str, Path)) else describe_object(data)
        given = {} if isinstance(data, (str, Path)) else {name: data}
        if isinstance(self.config, TextPretrainingConfig):
            return read_unlabelled_split(name, name, self.config.data, given)
        return read_split(name, name, self.config.data, self.target, given)

    def predict(self, inputs: Sequence[str | Path]) -> list[Prediction]:
        """Predict for picture files or texts.

        Args:
            inputs: Files; a folder stands for every file in it. Of a run on texts: texts, or files that hold one each.

        Returns:
            A prediction an input, in their order.

        Raises:
            DataError: An input cannot be read; all such are named.
            CheckpointError: The run is one of pre-training.
        """
        self._refuse_to_serve()
        examples = self.reader.read(inputs)
        predicted = self._predict(examples)
        return [self.head.say(name, row) for name, row in zip(examples.names, predicted, strict=True)]

    def export(self, folder: str | Path | None = None) -> tuple[Path, Parity]:
        """Write a SavedModel and prove, in a fresh process, that it says what :meth:`predict` says.

        Args:
            folder: Must not exist; by default the next version under the run's ``export/saved_model``.

        Returns:
            The SavedModel's folder, and the proof.

        Raises:
            ExportError: It could not be written, or differs.
            CheckpointError: The folder exists or cannot be made, or the run is one of pre-training.
        """
        self._refuse_to_serve()
        target = Path(folder) if folder is not None else self._next_version()
        if target.exists():
            raise CheckpointError(f"{target} exists. Choose another --out.")
        prepare_folder(target)
        samples = self.reader.read_samples(self.folder / SAMPLES)
        if not len(samples):
            raise _damaged(self.folder / SAMPLES, "the examples that prove an export are not there")
        parity = export_saved_model(
            self.model,
            self.head,
            self.reader,
            target,
            run=self.folder,
            samples=self.folder / SAMPLES,
            expected=self._predict(samples),
        )
        return target, parity

    def _next_version(self) -> Path:
        folder = self.folder / EXPORT
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)


def _read_json(file: Path, *keys: str) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, getattr(error, "strerror", None) or str(error)) from error
    if not isinstance(values, dict):
        raise _damaged(file, "it holds no object")
    missing = [key for key in keys if key not in values]
    if missing:
        raise _damaged(file, f"it lacks {', '.join(missing)}")
    return values


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{file} is damaged: {reason}. Make the run again, or use another copy of it.")


def write_json(file: Path, values: dict[str, Any]) -> None:
    """Write one of the run folder's JSON files."""
    with whole(file) as unfinished:
        unfinished.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_head(folder: Path, head: Head) -> None:
    """Keep what a head needs beside the model: thresholds of labels, mean and scale of numbers; of classes, nothing.

    Args:
        folder: The run folder.
        head: The head.
    """
    if head.facts:
        write_json(folder / HEAD, head.facts)


def keep_samples(folder: Path, splits: Splits, reader: Reader) -> None:
    """Copy a few raw examples into a run folder, so that an export can be proved wherever the folder goes.

    Args:
        folder: The run folder.
        splits: The test rows are taken, or whatever there is.
        reader: Of the splits.
    """
    rows = next(split for split in (splits.test, splits.validation, splits.train) if len(split))
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE_COUNT, len(rows))).astype(int))
    shutil.rmtree(folder / SAMPLES, ignore_errors=True)
    (folder / SAMPLES).mkdir()
    reader.write_samples(rows, chosen, folder / SAMPLES)
