"""The public recipe classes: one class with the logic, and a thin subclass for each task."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
from rich.console import Console

from keras_transfer.audit.result import Audit, print_findings
from keras_transfer.backbones import Backbone
from keras_transfer.backbones.images.load import name_backbone
from keras_transfer.config.catalog import find_recipe
from keras_transfer.config.recipe_file import apply_overrides, expand_names, parse_recipe, read_recipe
from keras_transfer.config.schema import RecipeConfig
from keras_transfer.console import print_line
from keras_transfer.data.augmentation.from_python import name_augmentation
from keras_transfer.data.sources.python_objects import name_objects
from keras_transfer.data.splits.splits import Splits
from keras_transfer.distribution import Distribution, distribute
from keras_transfer.errors import ConfigError
from keras_transfer.export import EXPORTERS, make_exporters
from keras_transfer.heads import name_head
from keras_transfer.job.auto_policy import estimate
from keras_transfer.job.job import Job
from keras_transfer.job.time_estimates import describe_estimates
from keras_transfer.networks.types import Loss, Metric, Optimizer
from keras_transfer.recipe.auditing import audit_recipe, find_in_data
from keras_transfer.recipe.fitting import fit_recipe
from keras_transfer.recipe.prepare import prepare_job, resolve_policy, session
from keras_transfer.recipe.source_task import find_task, names_recipe
from keras_transfer.recipe.spec import RecipeSpec
from keras_transfer.report.page import write_audit_page
from keras_transfer.run.run import Run
from keras_transfer.tasks import TASKS, Given
from keras_transfer.trackers import TRACKERS
from keras_transfer.trackers.base import Tracker, make_trackers
from keras_transfer.training.custom_parts import CustomParts, LossFunction
from keras_transfer.training.lr_finder import RangeTest


class Recipe:
    """One transfer-learning job.

    Use the class of a task, such as :class:`ImageClassification`, or :meth:`from_file`. A task of a plugin without a
    class of its own is named: ``Recipe("images/", task="retrieval")``.

    Args:
        data: A source as in a recipe file; a Python object: NumPy arrays ``(images, labels)``, a list of (path or text,
            label), a pandas DataFrame, a ``tf.data.Dataset`` of pairs; or the whole ``data`` section as a mapping.
            ``validation`` and ``test`` accept the same.
        task: The task, for recipes without a class of their own.
        loss: A Keras loss, or a function of (targets, raw outputs): one-hot classes and logits, labels of 0 and 1 and
            logits, or standardized numbers. The head is then trained, never solved.
        metrics: Keras metrics, or functions of (targets, predictions), in addition to the head's own.
        optimizer: A Keras optimizer in place of AdamW. Every phase trains with a fresh copy, at its learning rate times
            the phase's factor.
        sections: The recipe's further sections and keys, each a mapping as in a recipe file. ``backbone``, ``head`` and
            ``policy`` may be given by name alone. Objects are accepted, too: ``backbone`` as a :class:`Backbone` or a
            ``keras.Model``, ``head`` as a class of heads, ``augmentation`` as a function of (pixels, seed) or a Keras
            layer. Keys of the ``data`` section other than ``source`` may be given directly: ``label="stars"``.

    Attributes:
        config: The recipe with all defaults filled in.

    Raises:
        ConfigError: The recipe has mistakes; all are reported at once.

    Example:
        >>> recipe = ImageClassification("images/", policy={"name": "lora", "rank": 4})
        >>> recipe.config.policy.rank, recipe.config.seed
        (4, 0)
    """

    task: ClassVar[str]
    _classes: ClassVar[dict[str, type["Recipe"]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Let :meth:`from_file` return an instance of the class for recipes of its task."""
        super().__init_subclass__(**options)
        if "task" in vars(cls):
            Recipe._classes[cls.task] = cls

    def __init__(
        self,
        data: Any,
        *,
        task: str | None = None,
        loss: Loss | LossFunction | None = None,
        metrics: Sequence[Metric | LossFunction] = (),
        optimizer: Optimizer | None = None,
        **sections: Any,
    ) -> None:
        name = task or getattr(self, "task", None)
        if name is None:
            raise ConfigError(f"The task is missing. Pass it: Recipe(data, task=...). Known: {', '.join(TASKS)}.")
        schema = TASKS[name].config_class
        columns = set(schema.model_fields["data"].annotation.model_fields) - set(schema.model_fields)  # type: ignore[union-attr]
        source = dict(data) if isinstance(data, Mapping) else {"source": data}
        source |= {key: sections.pop(key) for key in columns & set(sections)}
        source, sources = name_objects(source)
        sections, backbone, change = _name_objects(sections, TASKS[name].augmentation_off)
        custom = CustomParts(loss, tuple(metrics), optimizer)
        if custom.names:
            sections["training"] = {**sections.get("training", {}), **custom.marks}
        config = _parse(expand_names({"task": name, "data": source, **sections}), where="The recipe")
        function = None if change is None else TASKS[name].take_augmentation(config, change)
        self._spec = RecipeSpec(TASKS[name], config, Given(sources, backbone, function), custom)

    @staticmethod
    def from_file(recipe: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Read a recipe.

        Args:
            recipe: A bundled name (``image/quickstart``) or a file.
            overrides: Each of the form ``section.key=value``.

        Returns:
            An instance of the task's class.

        Raises:
            ConfigError: The recipe does not exist or has mistakes; all are reported at once.
        """
        return Recipe._from_values(read_recipe(find_recipe(str(recipe)), overrides), where=f"Recipe {recipe}")

    @staticmethod
    def _from_values(values: Mapping[str, Any], *, where: str) -> "Recipe":
        config = _parse(values, where=where)
        return Recipe._from_spec(RecipeSpec(TASKS[config.task], config))

    @staticmethod
    def for_source(source: str, overrides: Sequence[str] = ()) -> "Recipe":
        """Return the default recipe for a source, of the task that reads it, or the recipe of that name or file.

        Args:
            source: As ``data.source``; or a bundled name or a file, as :meth:`from_file` takes it.
            overrides: Each of the form ``section.key=value``. ``task=...`` names the task.

        Raises:
            ConfigError: The source is ambiguous, in which case the message names the ways to read it, or there are
                mistakes.
        """
        if names_recipe(source):
            return Recipe.from_file(source, overrides)
        values = {"task": find_task(source, overrides), "data": {"source": source}}
        return Recipe._from_values(apply_overrides(values, overrides), where=f"The recipe for {source}")

    @staticmethod
    def _from_spec(spec: RecipeSpec) -> "Recipe":
        instance = object.__new__(Recipe._classes.get(spec.task.name, Recipe))
        instance._spec = spec
        return instance

    @property
    def config(self) -> Any:
        """The recipe with all defaults filled in: a :class:`RecipeConfig` of the task's own class."""
        return self._spec.config

    @property
    def given(self) -> Given:
        """The Python objects that replace names in a recipe file."""
        return self._spec.given

    def with_config(self, config: RecipeConfig) -> "Recipe":
        """Return a recipe with other settings for the same data."""
        return self._from_spec(self._spec.with_config(config))

    @contextlib.contextmanager
    def _session(self, console: Console | None) -> Iterator[tuple[RecipeSpec, Distribution]]:
        """The recipe with its precision, and the devices of this process alone."""
        with (
            distribute(self.config, connect=False) as distribution,
            session(self._spec, distribution, console) as current,
        ):
            yield current, distribution

    def prepare(self, console: Console | None = None) -> Job:
        """Do everything that comes before training: read and scan the data, load the weights, plan the phases.

        For a custom training loop; :meth:`fit` calls it by itself. examples/own_loop.py has such a loop.

        Args:
            console: Prints progress; None for silence.

        Returns:
            The job: the Keras model, the datasets, the phases, and ``apply(phase)``, which sets what trains and
            compiles.

        Raises:
            TransferError: The first problem that is found.
        """
        with self._session(console) as (current, distribution):
            return prepare_job(current, distribution, console)

    def check(self, console: Console | None = None) -> None:
        """Validate the recipe, its data and its weights without training or writing a run folder.

        Args:
            console: Prints data and phases; None for silence.

        Raises:
            TransferError: The first problem that is found.
        """
        make_trackers(self.config.trackers)  # each says if its package is not installed
        with self._session(console) as (current, distribution):
            job = prepare_job(current, distribution, console, on_data=_print_findings(current, console))
            if self.config.policy.name == "auto":
                estimates = estimate(job)
                if console:
                    print_line(f"Policy: auto; about {describe_estimates(estimates)}", console)

    def audit(self, out: str | Path | None = None, *, console: Console | None = None) -> Audit:
        """Look for problems of the data: broken, odd and repeated examples, and labels that look wrong.

        Nothing is trained. The features of the pretrained network are computed once; a run finds those of its training
        rows in the cache.

        Args:
            out: Folder for audit.csv, relabel.csv and audit.html; None to write nothing.
            console: Prints a table; None for silence.

        Returns:
            The findings. ``data.exclude`` takes audit.csv, and ``data.relabel`` takes relabel.csv.

        Raises:
            TransferError: The data cannot be read, or the network cannot be loaded.
        """
        with self._session(None) as (current, distribution):
            found = audit_recipe(current, distribution, previews=out is not None)
        if console:
            found.print(console)
        if out is not None:
            found.write(Path(out))
            write_audit_page(found, Path(out))
        return found

    def find_learning_rate(self, console: Console | None = None) -> RangeTest:
        """Try learning rates from far too small to far too large on the phase that trains longest.

        Args:
            console: Prints data and phases; None for silence.

        Returns:
            The curve; its ``learning_rate`` is what ``training.learning_rate: auto`` would use.

        Raises:
            TransferError: The recipe, its data or its weights have a problem, or no phase has a learning rate.
        """
        with self._session(console) as (current, distribution):
            job, _ = resolve_policy(prepare_job(current, distribution, console), console)
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
        """Train, evaluate and export the model.

        Args:
            out: The run folder: new or empty. By default ``runs/<task>-<date>-<time>``.
            resume: Continue the interrupted run in ``out``; start a run if there is none.
            console: Prints progress; None for silence.
            callbacks: Keras callbacks. They are called in every phase that trains by gradient descent, with
                ``on_train_begin`` for each phase, and not for a solved head. The state of one with ``get_state`` and
                ``set_state`` is restored when the run is resumed.
            trackers: :class:`Tracker` objects or their names, in addition to the recipe's ``trackers``.

        Returns:
            The finished run.

        Raises:
            TransferError: A problem with the recipe, its data or its weights, before anything is written.
            TrainingError: The loss became NaN or infinite; the last good weights are in the run folder.
            RunInterrupted: The process received SIGTERM; the run can be resumed.
        """
        return fit_recipe(self._spec, out, resume=resume, console=console, callbacks=callbacks, trackers=trackers)


class AudioClassification(Recipe):
    """Recordings in; a class, labels or numbers out: ``AudioClassification("recordings/").fit()``.

    Example:
        >>> recipe = AudioClassification("recordings/", backbone="whisper_tiny_en", seconds=5.0)
        >>> recipe.config.data.seconds, recipe.config.policy.name
        (5.0, 'lp_ft')
    """

    task = "audio_classification"


class ImageClassification(Recipe):
    """Images in; a class, labels or numbers out: ``ImageClassification("images/").fit()``.

    Example:
        >>> recipe = ImageClassification("images/", policy={"name": "last_stages", "stages": 2}, training={"epochs": 8})
        >>> recipe.config.policy.stages, recipe.config.training.epochs
        (2, 8)
    """

    task = "image_classification"


class SpeechToText(Recipe):
    """Recordings of speech in, their transcripts out: ``SpeechToText("transcripts.csv").fit()``.

    Example:
        >>> recipe = SpeechToText("transcripts.csv", backbone="whisper_base", head={"language": "cs"})
        >>> recipe.config.data.label, recipe.config.policy.name
        ('text', 'lora')
    """

    task = "speech_to_text"


class TextClassification(Recipe):
    """Texts in; a class, labels or numbers out.

    ``TextClassification("reviews.csv", text="review", label="stars").fit()``; ``target="number"`` predicts stars as a
    number.

    Example:
        >>> recipe = TextClassification([("A joy.", "good"), ("A bore.", "bad")], policy="head")
        >>> recipe.config.policy.name
        'head'
    """

    task = "text_classification"


class TextPretraining(Recipe):
    """Texts in, masked tokens out: ``run = TextPretraining("texts/").fit()`` trains the network further.

    The next recipe starts from it: ``backbone={"weights": str(run.folder)}``.

    Example:
        >>> recipe = TextPretraining("texts/", training={"epochs": 2})
        >>> recipe.config.task, recipe.config.training.epochs
        ('text_pretraining', 2)
    """

    task = "text_pretraining"


def _print_findings(spec: RecipeSpec, console: Console | None) -> Callable[[Splits], None] | None:
    """A function that prints findings that need no network; None if nothing is printed or searched for."""
    if console is None or spec.config.data.leaks == "off":
        return None

    def on_data(splits: Splits) -> None:
        findings = find_in_data(spec, splits)
        if findings:
            print_findings(findings, console)
            print_line("`keras-transfer audit` lists all of them, and finds outliers and suspicious labels.", console)

    return on_data


def _name_objects(
    sections: Mapping[str, Any], augmentation_off: Mapping[str, Any]
) -> tuple[dict[str, Any], Backbone | None, Any]:
    """Replace objects by names: the sections as a file could hold them, the backbone, and the augmentation."""
    named, backbone, change = dict(sections), None, None
    if "backbone" in named:
        named["backbone"], backbone = name_backbone(named["backbone"])
    if "head" in named:
        named["head"] = name_head(named["head"])
    if "augmentation" in named:
        named["augmentation"], change = name_augmentation(named["augmentation"], augmentation_off)
    return named, backbone, change


def _parse(values: Mapping[str, Any], *, where: str) -> RecipeConfig:
    task = values.get("task")
    known = TASKS[task].known_names(values) if isinstance(task, str) and task in TASKS else {}
    config = parse_recipe(values, known={"export.formats": EXPORTERS, "trackers": TRACKERS, **known}, where=where)
    make_exporters(config.export.formats)  # a format checks its own settings
    return config
