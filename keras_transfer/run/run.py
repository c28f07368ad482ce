"""The run folder, and the object that reads it back."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones.texts import network  # noqa: F401 - models of texts are made of its class
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
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.readers.masked import MaskedTextReader
from keras_transfer.data.readers.texts import TOKENIZER, TextReader
from keras_transfer.data.sources.python_objects import describe_object
from keras_transfer.data.splits.splits import Split, load_splits, read_split
from keras_transfer.data.splits.unlabelled import load_unlabelled, read_unlabelled_split
from keras_transfer.data.targets.base import Target
from keras_transfer.data.targets.read import TARGETS
from keras_transfer.distribution import prepare_backend
from keras_transfer.errors import CheckpointError, DataError
from keras_transfer.export import EXPORTERS, Exporter, Parity, Served, export_run
from keras_transfer.heads import MaskedReport, Prediction, TargetHead, evaluate_masked, restore_head
from keras_transfer.heads.evaluation import Report, predict
from keras_transfer.networks.batch_norm import fuse_batch_norm
from keras_transfer.networks.keras_file import read_keras_file
from keras_transfer.run.folder import (
    CHECKPOINTS,
    DATA,
    EXPORT,
    HEAD,
    METRICS,
    MODEL,
    RECIPE,
    SAMPLES,
    _damaged,
    _read_json,
    prepare_folder,
)

_PREDICT_BATCH = 32


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
            return ImageReader(
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
        """Predict for image files or texts.

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
        return [self.head.to_prediction(name, row) for name, row in zip(examples.names, predicted, strict=True)]

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
        self._refuse_to_serve()
        exporter = format if isinstance(format, Exporter) else EXPORTERS[format]()
        target = Path(folder) if folder is not None else self._next_version(exporter.name)
        if target.exists():
            raise CheckpointError(f"{target} exists. Choose another --out.")
        prepare_folder(target)
        samples = self.reader.read_samples(self.folder / SAMPLES)
        if not len(samples):
            raise _damaged(self.folder / SAMPLES, "the examples that prove an export are not there")
        served = Served(self.model, self.head, self.reader, self.folder)
        expected = self._predict(samples)
        return target, export_run(exporter, served, target, samples=self.folder / SAMPLES, expected=expected)

    def _next_version(self, format_name: str) -> Path:
        folder = self.folder / EXPORT / format_name
        versions = [int(entry.name) for entry in folder.glob("*") if entry.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)
