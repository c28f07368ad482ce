"""A transfer-learning job from data to run folder: the logic, once."""

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
from rich.console import Console

from keras_transfer.backbones import Backbone
from keras_transfer.backbones.images.load import FROM_PYTHON, is_elsewhere
from keras_transfer.config import SCHEMAS, RecipeConfig, parse_recipe, read_recipe
from keras_transfer.config.catalog import find_recipe
from keras_transfer.config.weights import Weights
from keras_transfer.data.checks.leaks import Repeated
from keras_transfer.data.checks.scan import Scan
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.splits import Split, Splits, load_splits
from keras_transfer.distribution import ONE_DEVICE, Distribution, distribute, session
from keras_transfer.errors import ConfigError, DataError, list_lines
from keras_transfer.export import EXPORTERS, make_exporters
from keras_transfer.heads import make_head
from keras_transfer.job.auto_policy import estimate
from keras_transfer.job.job import Job, find_scope
from keras_transfer.job.time_estimates import describe_estimates
from keras_transfer.model import TransferModel, build_model
from keras_transfer.networks.lora import add_adapters
from keras_transfer.recipe.fitting import Extras, fit_recipe
from keras_transfer.recipe.resolve_auto import settle_policy
from keras_transfer.recipe.seen_rows import check_rows_apart
from keras_transfer.registry import Registry
from keras_transfer.report import print_plan
from keras_transfer.run.run import Run
from keras_transfer.trackers import Tracker
from keras_transfer.training.lr_finder import RangeTest
from keras_transfer.training.phase import summarize
from keras_transfer.training.policies import plan
from keras_transfer.training.precision import run_precision_test

TASKS: Registry[type["Recipe"]] = Registry("task", ConfigError)
"""By the recipe's ``task``; ``tasks.py`` fills it."""

# Sections that are mostly their name: `policy="full"` stands for `policy={"name": "full"}`.
_NAMED_SECTIONS = ("backbone", "policy")


class Recipe(ABC):
    """One transfer-learning job.

    Args:
        data: A source as in a recipe file; what Python holds: NumPy arrays ``(images, labels)``, a list of (path or
            text, label), a pandas DataFrame, a ``tf.data.Dataset`` of pairs; or the whole ``data`` section as a
            mapping. ``validation`` and ``test`` take the same.
        sections: The recipe's further sections and keys, each a mapping as in a recipe file. ``backbone`` and
            ``policy`` may be given by name alone, ``backbone`` as a :class:`Backbone` too; what the ``data`` section
            has beside its source may be given by its own name: ``label="stars"``.

    Raises:
        ConfigError: All mistakes at once.
    """

    task: ClassVar[str]
    backbone: Backbone | None = None
    """The backbone where it was given from Python."""
    distribution: Distribution = ONE_DEVICE
    """The devices and processes that share a run, while it goes on."""
    known: ClassVar[Mapping[str, Iterable[str]]] = {"export.formats": EXPORTERS}
    """For dotted paths that name a registered thing, the names there are."""

    def __init__(self, data: Any, **sections: Any) -> None:
        schema = SCHEMAS[self.task]
        columns = set(schema.model_fields["data"].annotation.model_fields) - set(schema.model_fields)  # type: ignore[union-attr]
        source = dict(data) if isinstance(data, Mapping) else {"source": data}
        source |= {key: sections.pop(key) for key in columns & set(sections)}
        if isinstance(sections.get("backbone"), Backbone):
            self.backbone = sections["backbone"]
            sections["backbone"] = f"{FROM_PYTHON}{self.backbone.name}"
        source, self._given = name_objects(source)
        values = {
            name: {"name": value} if name in _NAMED_SECTIONS and isinstance(value, str) else value
            for name, value in sections.items()
        }
        self.config = _parse({"task": self.task, "data": source, **values}, where="The recipe")

    @staticmethod
    def from_file(recipe: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Read a recipe.

        Args:
            recipe: A bundled name (``image/quickstart``) or a file.
            overrides: ``section.key=value`` each.

        Returns:
            An instance of the task's class.

        Raises:
            ConfigError: There is no such recipe, or it has mistakes; all are reported at once.
        """
        file = find_recipe(str(recipe))
        config = _parse(read_recipe(file, overrides), where=f"Recipe {recipe}")
        instance = object.__new__(TASKS[config.task])
        instance.config = config
        instance._given = {}
        return instance

    def with_config(self, config: RecipeConfig) -> "Recipe":
        """Return a recipe with other settings for the same data."""
        other = copy.copy(self)
        other.config = config
        return other

    def prepare(self, console: Console | None = None) -> Job:
        """Do all that can go wrong before training: read and scan the data, load the weights, plan the phases.

        Args:
            console: Told what happens; None for silence.

        Returns:
            The job, ready to be trained.

        Raises:
            TransferError: Whatever stands against it.
        """
        loaded = self._load_splits()
        scanned = self._scan(tuple(loaded))
        loaded = loaded.with_parts(scanned.splits)
        loaded.check()
        for split in loaded:
            self.distribution.share.check(split.name, len(split))
        weights = Weights.parse(self.config.backbone.weights)
        if weights.run is not None:
            check_rows_apart(weights.run, self.config.data, loaded.test.examples.names, seed=self.config.seed)
        if console:
            _print_data(self.config.data.source, loaded, scanned, console)
        repeated = self._find_repeated(loaded, console)
        backbone = self._load_backbone(weights)
        reader, prepared = self._make_reader(backbone, tuple(loaded))
        splits = loaded.with_parts(prepared)
        labels = self._write_label_texts(reader, splits.target.names)
        notes, record = self._look_at(reader, tuple(loaded), prepared)
        if console:
            for note in notes:
                console.print(note, highlight=False, markup=False, soft_wrap=True)
        model = self._build_model(backbone, splits, reader)
        self.distribution.check_model(model.trainer)
        phases = plan(self.config.policy, find_scope(self.config, model, splits))
        for phase in phases:
            if phase.lora_rank is not None:
                add_adapters(backbone.stages, phase.stages, rank=phase.lora_rank, which=phase.lora_layers)
        summaries = summarize(model, phases)
        if console and self.config.policy.name != "auto":
            print_plan(summaries, len(backbone.stages), console)
        record = {**splits.describe(), "skipped": scanned.broken, "repeated": repeated, **record}
        return self._job(
            self.config, splits, record, reader, model, phases, distribution=self.distribution, label_texts=labels
        )

    def _find_repeated(self, splits: Splits, console: Console | None) -> dict[str, Any] | None:
        """What data.json records of examples that stand in two splits; None where nobody looked."""
        leaks = self.config.data.leaks
        if leaks == "off":
            return None
        repeated = self._compare(tuple(splits))
        if repeated.lines and leaks == "error":
            raise DataError(
                f"Examples stand in two splits:\n{list_lines(repeated.lines)}\n"
                "Remove them from one, keep them together with data.group, or set data.leaks=warn."
            )
        if console:
            for line in repeated.lines:
                console.print(line, highlight=False, markup=False, soft_wrap=True)
        return repeated.record

    # What a task has of its own.

    _job: ClassVar[type[Job]] = Job

    def _load_splits(self) -> Splits:
        return load_splits(self.config.data, seed=self.config.seed, given=self._given)

    def _build_model(self, backbone: Any, splits: Splits, reader: Reader) -> TransferModel:
        head = make_head(self.config, splits.target.names, splits.train.targets)
        return build_model(backbone, head, flips=reader.flips)

    @abstractmethod
    def _scan(self, splits: Sequence[Split]) -> Scan:
        """The splits without what cannot be read."""

    @abstractmethod
    def _compare(self, splits: Sequence[Split]) -> Repeated:
        """Find examples that stand in two splits."""

    @abstractmethod
    def _load_backbone(self, weights: Weights) -> Backbone: ...

    @abstractmethod
    def _make_reader(self, backbone: Any, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        """A reader, and the splits prepared by it."""

    def _look_at(
        self, reader: Any, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """What is worth knowing of the examples before training: lines for people, and what data.json records."""
        return (), {}

    def _write_label_texts(self, reader: Any, names: Sequence[str]) -> Split | None:
        """An example of each output that says what it is called, where the network can tell; prepared by the reader."""
        return None

    def check(self, console: Console | None = None) -> None:
        """Find everything that stands against a run, without training or writing a run folder.

        Args:
            console: Told about data and phases; None for silence.

        Raises:
            TransferError: The first thing that does.
        """
        with distribute(self.config, connect=False) as distribution, self.session(distribution, console) as recipe:
            job = recipe.prepare(console)
            if self.config.policy.name == "auto":
                estimates = estimate(job)
                if console:
                    console.print(
                        f"Policy: auto; about {describe_estimates(estimates)}", highlight=False, soft_wrap=True
                    )

    def find_learning_rate(self, console: Console | None = None) -> RangeTest:
        """Try learning rates from far too small to far too large on the phase that trains longest.

        Args:
            console: Told about data and phases; None for silence.

        Returns:
            The curve; its ``learning_rate`` is what ``training.learning_rate: auto`` would use.

        Raises:
            TransferError: What stands against a run, or no phase has a learning rate.
        """
        with distribute(self.config, connect=False) as distribution, self.session(distribution, console) as recipe:
            job, _ = settle_policy(recipe.prepare(console), console)
            return job.find_learning_rate()

    def fit(
        self,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        console: Console | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        trackers: Sequence[Tracker | str] = (),
    ) -> Run:
        """Train, evaluate and export.

        Args:
            out: The run folder: new or empty. By default ``runs/<task>-<date>-<time>``.
            resume: Go on with the run that was interrupted in ``out``; begin one where there is none.
            console: Told what happens; None for silence.
            callbacks: Keras callbacks. They are called in every phase that trains by gradient descent, each with its
                own ``on_train_begin``, and not for a solved head. One with ``get_state`` and ``set_state`` continues
                with its state when the run is resumed.
            trackers: :class:`Tracker` objects or their names, beside the recipe's ``trackers``.

        Returns:
            The finished run.

        Raises:
            TransferError: What stands against it, before anything is written.
            TrainingError: The loss became something that is no number; the last good weights are in the run folder.
            RunInterrupted: SIGTERM came; the run can be resumed.
        """
        return fit_recipe(self, out, resume=resume, console=console, extras=Extras(callbacks, trackers))

    @contextlib.contextmanager
    def session(self, distribution: Distribution, console: Console | None) -> Iterator["Recipe"]:
        """The same recipe with its precision settled, and Keras as that and the devices want it."""
        recipe = copy.copy(self)
        if self.config.training.precision == "auto":
            found = run_precision_test(
                lambda: self._load_backbone(Weights.RANDOM), batch_size=self.config.training.batch_size
            )
            if console:
                console.print(str(found), highlight=False, soft_wrap=True)
            training = self.config.training.model_copy(update={"precision": found.precision})
            recipe = self.with_config(self.config.model_copy(update={"training": training}))
        recipe.distribution = distribution
        with session(recipe.config, distribution):
            yield recipe


def _print_data(source: str, splits: Splits, scanned: Scan, console: Console) -> None:
    counts = ", ".join(f"{len(split):,} {split.name}" for split in splits)
    line = f"Data: {source}: {splits.target.headline()}; rows: {counts}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in scanned.broken:
        console.print(f"Broken: {line}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    for line in (*scanned.notes, *splits.notes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _parse(values: Mapping[str, Any], *, where: str) -> RecipeConfig:
    task = values.get("task")
    known = TASKS[task].known if isinstance(task, str) and task in TASKS else Recipe.known
    backbone = values.get("backbone")
    if isinstance(backbone, Mapping) and is_elsewhere(backbone.get("name")):
        known = {path: names for path, names in known.items() if path != "backbone.name"}
    config = parse_recipe(values, known=known, where=where)
    make_exporters(config.export.formats)  # a format checks its own settings
    return config
