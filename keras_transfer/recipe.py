"""A transfer-learning job from data to run folder. The base class holds the logic once; a task is a thin leaf."""

import contextlib
import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from rich.console import Console

from keras_transfer import run as folders
from keras_transfer.auto import choose_policy, estimate
from keras_transfer.backbones import BACKBONES, Backbone, PictureBackbone
from keras_transfer.backbones.hub import TextBackbone, load_text_backbone
from keras_transfer.backbones.hub_pictures import PREFIX
from keras_transfer.backbones.pictures import FROM_PYTHON, is_elsewhere, load_copy, load_picture_backbone
from keras_transfer.catalog import find_recipe
from keras_transfer.choice import Choice, describe_estimates
from keras_transfer.config import (
    SCHEMAS,
    ImageClassificationConfig,
    RecipeConfig,
    TextClassificationConfig,
    parse_recipe,
    read_recipe,
    write_recipe,
)
from keras_transfer.data.picture_reader import PictureReader
from keras_transfer.data.reader import Reader
from keras_transfer.data.scan import Scan, scan
from keras_transfer.data.sources import SAMPLES
from keras_transfer.data.splits import Split, Splits, load_splits
from keras_transfer.data.text_reader import TextReader
from keras_transfer.data.text_sources import TEXT_SAMPLES
from keras_transfer.data.texts import check_texts, find_repeated
from keras_transfer.distribution import describe_environment, session
from keras_transfer.errors import CheckpointError, ConfigError, TrainingError
from keras_transfer.feature_store import cache_folder
from keras_transfer.heads import ClassificationHead
from keras_transfer.job import Job, Trained, find_scope
from keras_transfer.keras_file import write_keras_file
from keras_transfer.lora import adapter_weights, add_adapters, merge_adapters
from keras_transfer.lr_finder import RangeTest
from keras_transfer.model import build_model
from keras_transfer.policies import POLICIES, plan
from keras_transfer.precision import run_precision_test
from keras_transfer.registry import Registry
from keras_transfer.report import plot_history, print_plan, print_report
from keras_transfer.run import Run
from keras_transfer.training import summarize

# Sections that are mostly their name: `policy="full"` stands for `policy={"name": "full"}`.
_NAMED_SECTIONS = ("backbone", "policy")


class Recipe(ABC):
    """One transfer-learning job.

    Args:
        data: A source as in a recipe file, or the whole ``data`` section as a mapping.
        sections: The recipe's further sections and keys, each a mapping as in a recipe file. ``backbone`` and
            ``policy`` may be given by name alone, ``backbone`` as a :class:`Backbone` too; what the ``data`` section
            has beside its source may be given by its own name: ``label="stars"``.

    Raises:
        ConfigError: All mistakes at once.
    """

    task: ClassVar[str]
    backbone: Backbone | None = None
    """The backbone where it was given from Python."""
    known: ClassVar[Mapping[str, Iterable[str]]] = {"policy.name": POLICIES}
    """For dotted paths that name a registered thing, the names there are."""

    def __init__(self, data: str | Path | Mapping[str, Any], **sections: Any) -> None:
        schema = SCHEMAS[self.task]
        columns = set(schema.model_fields["data"].annotation.model_fields) - set(schema.model_fields)  # type: ignore[union-attr]
        source = dict(data) if isinstance(data, Mapping) else {"source": str(data) if isinstance(data, Path) else data}
        source |= {key: sections.pop(key) for key in columns & set(sections)}
        if isinstance(sections.get("backbone"), Backbone):
            self.backbone = sections["backbone"]
            sections["backbone"] = f"{FROM_PYTHON}{self.backbone.name}"
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
        return instance

    def prepare(self, console: Console | None = None) -> Job:
        """Do all that can go wrong before training: read and scan the data, load the weights, plan the phases.

        Args:
            console: Told what happens; None for silence.

        Returns:
            The job, ready to be trained.

        Raises:
            TransferError: Whatever stands against it.
        """
        loaded = load_splits(self.config.data, seed=self.config.seed)
        scanned = self._scan(tuple(loaded))
        loaded = Splits(loaded.class_names, *scanned.splits)
        loaded.check()
        if console:
            _print_data(self.config.data.source, loaded, scanned, console)
        backbone = self._load_backbone(self.config.backbone.weights)
        reader, prepared = self._make_reader(backbone, tuple(loaded))
        splits = Splits(loaded.class_names, *prepared)
        notes, record = self._look_at(reader, tuple(loaded), prepared)
        if console:
            for note in notes:
                console.print(note, highlight=False, markup=False, soft_wrap=True)
        head = ClassificationHead(len(splits.class_names), self.config.head)
        model = build_model(backbone, head, flips=reader.flips)
        phases = plan(self.config.policy, find_scope(self.config, model, splits))
        for phase in phases:
            if phase.lora_rank is not None:
                add_adapters(backbone.stages, phase.stages, rank=phase.lora_rank, which=phase.lora_layers)
        summaries = summarize(model, phases)
        if console and self.config.policy.name != "auto":
            print_plan(summaries, len(backbone.stages), console)
        record = {**splits.describe(), "skipped": scanned.broken, **record}
        return Job(self.config, splits, record, reader, model, phases)

    # What a task has of its own.

    @abstractmethod
    def _scan(self, splits: Sequence[Split]) -> Scan:
        """The splits without what cannot be read."""

    @abstractmethod
    def _load_backbone(self, weights: str) -> Backbone: ...

    @abstractmethod
    def _make_reader(self, backbone: Any, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        """A reader, and the splits prepared by it."""

    def _look_at(
        self, reader: Any, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """What is worth knowing of the examples before training: lines for people, and what data.json records."""
        return (), {}

    def check(self, console: Console | None = None) -> None:
        """Find everything that stands against a run, without training or writing a run folder.

        Args:
            console: Told about data and phases; None for silence.

        Raises:
            TransferError: The first thing that does.
        """
        with self._session(console) as recipe:
            job = recipe.prepare(console)
            if self.config.policy.name == "auto":
                estimates = estimate(job)
                if console:
                    console.print(f"Policy: auto; about {describe_estimates(estimates)}", highlight=False)

    def find_learning_rate(self, console: Console | None = None) -> RangeTest:
        """Try learning rates from far too small to far too large on the phase that trains longest.

        Args:
            console: Told about data and phases; None for silence.

        Returns:
            The curve; its ``learning_rate`` is what ``training.learning_rate: auto`` would use.

        Raises:
            TransferError: What stands against a run, or no phase has a learning rate.
        """
        with self._session(console) as recipe:
            job, _ = _settle_policy(recipe.prepare(console), console)
            return job.find_learning_rate()

    def fit(self, out: str | Path | None = None, *, console: Console | None = None) -> Run:
        """Train, evaluate and export.

        Args:
            out: The run folder: new or empty. By default ``runs/<task>-<date>-<time>``.
            console: Told what happens; None for silence.

        Returns:
            The finished run.

        Raises:
            TransferError: What stands against it, before anything is written.
            TrainingError: The loss became something that is no number; the last good weights are in the run folder.
        """
        folder = Path(out) if out is not None else Path("runs") / f"{self.task}-{time.strftime('%Y%m%d-%H%M%S')}"
        folders.prepare_folder(folder)
        with self._session(console) as recipe:
            prepared = recipe.prepare(console)
            started = time.perf_counter()
            job, choice = _settle_policy(prepared, console)
            job = _settle_learning_rate(job, console)
            self._begin(folder, job)
            trained = self._train(folder, job)
            self._judge(folder, job, trained, console)
            if choice:
                _tell_truth(folder, choice, time.perf_counter() - started, console)
        run = Run(folder)
        if self.config.export.formats:
            target, parity = run.export()
            if console:
                console.print(
                    f"SavedModel: {target} (a fresh process gave the same answers for {parity.examples} examples, to "
                    f"within {parity.largest_difference:.1g})",
                    highlight=False,
                    soft_wrap=True,
                )
        return run

    @contextlib.contextmanager
    def _session(self, console: Console | None) -> Iterator["Recipe"]:
        """The same recipe with its precision settled, and Keras as that wants it."""
        recipe = self
        if self.config.training.precision == "auto":
            found = run_precision_test(lambda: self._load_backbone("none"), batch_size=self.config.training.batch_size)
            if console:
                console.print(str(found), highlight=False)
            training = self.config.training.model_copy(update={"precision": found.precision})
            recipe = copy.copy(self)
            recipe.config = self.config.model_copy(update={"training": training})
        with session(recipe.config):
            yield recipe

    def _begin(self, folder: Path, job: Job) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"The output folder {folder} cannot be made: {error.strerror}. Choose another --out."
            ) from error
        write_recipe(_with_absolute_paths(job.config), folder / folders.RECIPE)
        folders.write_json(folder / folders.ENVIRONMENT, describe_environment(job.config))
        folders.write_json(folder / folders.DATA, job.record)
        folders.keep_samples(folder, job.splits, job.reader)
        job.reader.save(folder)

    def _train(self, folder: Path, job: Job) -> Trained:
        try:
            trained = job.train(folder / folders.HISTORY)
        except TrainingError as error:
            _save(folder, job)
            raise TrainingError(f"{error} The last good weights are in {folder / folders.MODEL}.") from error
        _save(folder, job)
        plot_history(folder / folders.HISTORY, folder / folders.PLOT)
        return trained

    def _judge(self, folder: Path, job: Job, trained: Trained, console: Console | None) -> None:
        reports = job.judge(trained)
        folders.write_json(folder / folders.METRICS, {report.split: report.to_json() for report in reports})
        if console:
            if reports:
                print_report(reports[-1], console)
            console.print(f"Run folder: {folder}", highlight=False, soft_wrap=True)


class ImageClassification(Recipe):
    """Pictures in, one class out of several: ``ImageClassification("pictures/").fit()``."""

    task = "image_classification"
    known: ClassVar = {**Recipe.known, "backbone.name": BACKBONES}
    config: ImageClassificationConfig

    def _scan(self, splits: Sequence[Split]) -> Scan:
        data = self.config.data
        return scan(splits, broken=data.broken, max_pixels=data.max_pixels, memory=cache_folder() / "scans")

    def _load_backbone(self, weights: str) -> PictureBackbone:
        size = self.config.data.image_size
        if isinstance(self.backbone, PictureBackbone):
            return load_copy(self.backbone, weights, image_size=size)
        return load_picture_backbone(self.config.backbone, image_size=size, weights=weights)

    def _make_reader(self, backbone: PictureBackbone, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        config = self.config
        reader = PictureReader(
            image_size=backbone.image_size,
            resize=config.data.resize,
            augmentation=config.augmentation,
            seed=config.seed,
            max_pixels=config.data.max_pixels,
        )
        return reader, splits


class TextClassification(Recipe):
    """Texts in, one class out of several: ``TextClassification("reviews.csv", text="review", label="stars").fit()``."""

    task = "text_classification"
    config: TextClassificationConfig

    def _scan(self, splits: Sequence[Split]) -> Scan:
        whole, broken = check_texts(splits, broken=self.config.data.broken)
        return Scan(whole, broken, ())

    def _load_backbone(self, weights: str) -> TextBackbone:
        return load_text_backbone(self.config.backbone.name, weights=weights, pooling=self.config.head.pooling)

    def _make_reader(self, backbone: TextBackbone, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        return TextReader.fit(
            backbone.encoder,
            splits,
            sequence_length=self.config.data.sequence_length,
            maximum_length=backbone.maximum_length,
            pads_to_longest=backbone.pads_to_longest,
        )

    def _look_at(
        self, reader: TextReader, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        repeated, tokens = find_repeated(loaded), reader.report(prepared)
        cut = ", ".join(f"{share:.1%} of {name}" for name, share in tokens["cut"].items())
        line = f"Tokens: at most {reader.sequence_length}; texts that are cut: {cut}"
        return (*repeated.lines, line), {**tokens, "repeated": repeated.record}


TASKS: Registry[type[Recipe]] = Registry("task", ConfigError)
for _task in (ImageClassification, TextClassification):
    TASKS.add(_task.task, _task)


def _print_data(source: str, splits: Splits, scanned: Scan, console: Console) -> None:
    counts = ", ".join(f"{len(split):,} {split.name}" for split in splits)
    console.print(f"Data: {source}: {len(splits.class_names)} classes; rows: {counts}", highlight=False)
    for line in scanned.broken:
        console.print(f"Broken: {line}", style="yellow", highlight=False, markup=False)
    for line in scanned.notes:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _settle_policy(job: Job, console: Console | None) -> tuple[Job, Choice | None]:
    """Put a policy in the place of ``auto``."""
    if job.config.policy.name != "auto":
        return job, None
    job, choice = choose_policy(job)
    summaries = summarize(job.model, job.phases)
    if console:
        console.print(str(choice), highlight=False, soft_wrap=True)
        print_plan(summaries, len(job.model.backbone.stages), console)
    return job, choice


def _tell_truth(folder: Path, choice: Choice, seconds: float, console: Console | None) -> None:
    """Record what was chosen, and how long it took beside what had been estimated."""
    folders.write_json(folder / folders.CHOICE, {**choice.to_json(), "seconds": seconds})
    if console:
        estimate = choice.estimates[choice.policy]
        console.print(f"Time: {seconds:.0f} s; about {estimate:.0f} s had been estimated", highlight=False)


def _settle_learning_rate(job: Job, console: Console | None) -> Job:
    """Put a number in the place of ``auto``, unless every phase is solved and nobody will ask for it."""
    if job.config.training.learning_rate != "auto" or all(phase.solve for phase in job.phases):
        return job
    found = job.find_learning_rate()
    if console:
        console.print(str(found), highlight=False, soft_wrap=True)
    return job.with_learning_rate(found.learning_rate)


def _save(folder: Path, job: Job) -> None:
    """The model as it will be served, and its adapters, which are no more than a part of its weights, beside it."""
    stages = job.model.backbone.stages
    adapters = adapter_weights(stages)
    if adapters:
        np.savez(folder / folders.ADAPTERS, allow_pickle=False, **adapters)
        merge_adapters(stages)
    write_keras_file(job.model.predictor, folder / folders.MODEL)


def _with_absolute_paths(config: RecipeConfig) -> RecipeConfig:
    """The recipe that a run folder keeps must name the same files from any working folder."""

    def absolute(value: float | str) -> float | str:
        if not isinstance(value, str) or value in SAMPLES or value in TEXT_SAMPLES or value in ("pretrained", "none"):
            return value
        return str(Path(value).resolve()) if Path(value).exists() else value

    data = {key: absolute(getattr(config.data, key)) for key in ("source", "validation", "test")}
    weights = {"weights": absolute(config.backbone.weights)}
    name = config.backbone.name.removeprefix(PREFIX)
    if name not in BACKBONES and Path(name).expanduser().exists():
        weights["name"] = str(Path(name).expanduser().resolve())
    sections = {
        "data": config.data.model_copy(update=data),
        "backbone": config.backbone.model_copy(update=weights),
    }
    return config.model_copy(update=sections)


def _parse(values: Mapping[str, Any], *, where: str) -> RecipeConfig:
    task = values.get("task")
    known = TASKS[task].known if isinstance(task, str) and task in TASKS else Recipe.known
    backbone = values.get("backbone")
    if isinstance(backbone, Mapping) and is_elsewhere(backbone.get("name")):
        known = {path: names for path, names in known.items() if path != "backbone.name"}
    return parse_recipe(values, known=known, where=where)
