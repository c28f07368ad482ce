"""The interface of tasks: from the data of a recipe to a model, a report on it, and predictions of a finished run."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

from keras_transfer.backbones import Backbone
from keras_transfer.config.schema import SCHEMAS, RecipeConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.augmentation.from_python import take_function
from keras_transfer.data.checks.broken import Scan
from keras_transfer.data.checks.findings import Finding
from keras_transfer.data.checks.leaks import Repeated
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.inputs import InputKind
from keras_transfer.data.readers.base import Reader
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.base import Target
from keras_transfer.errors import ConfigError
from keras_transfer.explain import Explanation, Shown
from keras_transfer.heads import Prediction
from keras_transfer.heads.evaluation import Report
from keras_transfer.model import TransferModel
from keras_transfer.networks.types import Batches
from keras_transfer.registry import Registry
from keras_transfer.tasks.records import Evaluation, FinishedRun, Floats, Given, TrainedModel

_PREDICT_BATCH = 32


class Task(ABC):
    """One kind of recipe.

    A task has no state: everything comes from the recipe or from the folder of a finished run. Add one under the
    entry-point group ``keras_transfer.tasks``; docs/extend/tasks.md shows how.

    Attributes:
        name: The value of ``task`` in a recipe.
        config_class: The schema of such recipes.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[RecipeConfig]]

    augmentation_off: ClassVar[Mapping[str, Any]] = {"horizontal_flip": False}
    """The augmentation section without any of the changes that are on by default."""

    def known_names(self, values: Mapping[str, Any]) -> Mapping[str, Iterable[str]]:
        """Return the existing names for dotted paths of a recipe that refer to a registered object.

        Args:
            values: The recipe as given.
        """
        return {}

    # From a recipe to a model.

    @abstractmethod
    def load_splits(self, config: Any, given: Mapping[str, Any]) -> Splits:
        """Read the sources of a recipe and divide them.

        Args:
            config: The recipe.
            given: Python objects that are sources, by their names in the recipe.
        """

    def reload_splits(self, config: Any, record: Mapping[str, Any]) -> Splits:
        """Read the sources of a finished run again: the examples as training saw them.

        Args:
            config: The recipe.
            record: The content of data.json; rows that it does not name may be included, and are left out later.
        """
        return self.load_splits(config, {})

    @abstractmethod
    def read_split(self, config: Any, name: str, target: Target, given: Mapping[str, Any]) -> Split:
        """Read a whole source as one split, to evaluate a finished run on it.

        Args:
            config: The recipe of the run.
            name: The source.
            target: The classes, labels or numbers of the run.
            given: The source itself by its name, if it is a Python object.
        """

    @abstractmethod
    def scan(self, config: Any, splits: Sequence[Split]) -> Scan:
        """Scan every example, and return the splits without those that cannot be read."""

    @abstractmethod
    def find_repeated(self, splits: Sequence[Split]) -> Repeated:
        """Find examples that are in two splits."""

    def audit(self, config: Any, splits: Splits) -> Sequence[Finding]:
        """Look for odd examples, without a network; by default for none.

        Args:
            config: The recipe.
            splits: Examples that can be read, as :meth:`scan` returns them.
        """
        return ()

    def preview(self, examples: Any, row: int) -> bytes | str:
        """Return a preview of an example: a small JPEG image or the start of a text; by default an empty text.

        Args:
            examples: As :meth:`scan` returns them.
            row: The index of a readable example.
        """
        return ""

    @abstractmethod
    def load_backbone(self, config: Any, weights: Weights, given: Given) -> Backbone:
        """Load the network.

        Args:
            config: The recipe.
            weights: Where the weights are from; ``Weights.RANDOM`` for a network whose weights do not matter.
            given: Objects that were given from Python.
        """

    def take_augmentation(self, config: Any, value: Any) -> Any:
        """Convert an augmentation from Python for ``Reader.with_function``.

        Args:
            config: The recipe.
            value: A function or a Keras layer.

        Raises:
            ConfigError: It cannot be used; by default, if the task's examples are not images.
        """
        return take_function(value, getattr(config.data, "channels", 3))

    @abstractmethod
    def make_reader(self, config: Any, backbone: Any, splits: Sequence[Split]) -> tuple[Reader, Sequence[Split]]:
        """Make a reader, and return the splits prepared by it."""

    def describe_examples(
        self, reader: Any, loaded: Sequence[Split], prepared: Sequence[Split]
    ) -> tuple[Sequence[str], dict[str, Any]]:
        """Return facts about the examples to show before training: lines to print, and entries for data.json."""
        return (), {}

    def label_texts(self, config: Any, reader: Any, names: Sequence[str]) -> Split | None:
        """Return an example per output that describes it in words, prepared by the reader; None if that is impossible.

        A head that is solved on few examples also learns from them.
        """
        return None

    @abstractmethod
    def build_model(self, config: Any, backbone: Any, splits: Splits, reader: Reader) -> TransferModel:
        """Put the head on the network."""

    # From a trained model to a report.

    def predict_untrained(self, model: TrainedModel) -> Any:
        """Return what :meth:`evaluate_trained` needs from the model before its first phase; by default nothing.

        Args:
            model: As loaded, with the head.

        Returns:
            Mappings and sequences of numbers, strings, None and arrays, which checkpoints hold.
        """
        return None

    @abstractmethod
    def evaluate_trained(self, trained: TrainedModel) -> Evaluation:
        """Evaluate a model on validation and test rows at the end of its run."""

    # A finished run.

    @abstractmethod
    def restore_target(self, config: Any, record: Mapping[str, Any]) -> Target:
        """Restore the target of a finished run.

        Args:
            config: The recipe.
            record: The content of data.json.

        Raises:
            KeyError: The record lacks the names.
        """

    @abstractmethod
    def restore_reader(self, run: FinishedRun) -> Reader:
        """Restore the reader of a finished run."""

    @abstractmethod
    def restore_head(self, run: FinishedRun, facts: dict[str, Any]) -> Any:
        """Restore the head of a finished run.

        Args:
            run: Has no head yet.
            facts: The content of head.json.

        Raises:
            KeyError: A value is missing.
        """

    def fits(self, model: keras.Model, target: Target) -> bool:
        """Return whether the model of a run folder has the outputs that the target needs."""
        return True

    @abstractmethod
    def report_type(self, run: FinishedRun) -> type[Report]:
        """Return the class of the run's reports."""

    @abstractmethod
    def evaluate(self, run: FinishedRun, split: Split) -> Report:
        """Evaluate a finished run on the rows of a split."""

    def refusal(self, run: FinishedRun) -> str | None:
        """Return why a run of this task can neither predict nor be exported; None if it can."""
        return None

    @abstractmethod
    def inputs(self, config: Any) -> InputKind:
        """Return the kind of the inputs of ``predict``, and how inputs become examples.

        Args:
            config: The recipe of the run.
        """

    @abstractmethod
    def predict(self, run: FinishedRun, examples: Examples) -> Sequence[Prediction]:
        """Predict for examples, in their order.

        Args:
            run: The run.
            examples: At least one, which :meth:`inputs` has read.
        """

    # Explaining a finished run.

    @property
    def explains(self) -> bool:
        """Whether the task has explanations."""
        return type(self).explain is not Task.explain

    def explain(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Explanation]:
        """Explain outputs by the content of examples; by default there is no explanation.

        Args:
            run: The run.
            examples: At least one.
            outputs: For each example the outputs to explain, as :meth:`TargetHead.explained_outputs` chooses them.

        Returns:
            One per example, in order.
        """
        return [Explanation(name, (), note=f"Task {self.name} has no explanations.") for name in examples.names]

    def show(self, run: FinishedRun, examples: Examples, outputs: Sequence[Sequence[int]]) -> Sequence[Shown]:
        """Prepare examples for the page of a run; by default only their names are shown.

        Args:
            run: The run.
            examples: At least one, read from a source, or as the reader prepared them in training.
            outputs: As above.

        Returns:
            One per example, in order. An example that is missing or damaged has a ``problem``; it does not raise an
            error.
        """
        return [Shown(name) for name in examples.names]

    def lengths(self, examples: Examples) -> NDArray[np.float64] | None:
        """Return the duration of each example, in seconds; by default None: examples of the task have no duration.

        Args:
            examples: Read from a source, or as the reader prepared them in training.

        Returns:
            ``float64[examples]``, NaN for one that cannot be read.
        """
        return None

    def embed(self, run: FinishedRun, examples: Examples) -> tuple[Floats, Floats] | None:
        """Return the model's output for examples, and their features, by which examples can be compared.

        Args:
            run: The run.
            examples: At least one, which :meth:`inputs` has read.

        Returns:
            ``float32[examples, outputs]`` and ``float32[examples, channels]``, in their order; by default None: the
            task has no features.
        """
        return None


def predict_examples(run: FinishedRun, examples: Examples) -> Floats:
    """Return the output of a run's model for examples, ``float32[examples, outputs]``, in their order."""
    batches, back = _make_batches(run, examples)
    return run.predict_batches(batches)[back]


def embed_examples(run: FinishedRun, examples: Examples) -> tuple[Floats, Floats] | None:
    """Return the output of a run's model for examples and the pooled features that its head reads.

    Returns:
        ``float32[examples, outputs]`` and ``float32[examples, channels]``, in their order; None if the model was not
        made by :func:`keras_transfer.model.build_model`.
    """
    batches, back = _make_batches(run, examples)
    embedded = run.embed_batches(batches)
    if embedded is None:
        return None
    predicted, features = embedded
    return predicted[back], features[back]


def _make_batches(run: FinishedRun, examples: Examples) -> tuple[Batches, NDArray[np.int64]]:
    """Batches of the inputs that the run's reader returns, and the place of each example in them."""
    n, reader = len(examples), run.reader
    split = reader.prepare(Split("inputs", examples, np.zeros(n, np.int64), np.ones(n, np.float32)))
    view = reader.predictor_view
    batches = reader.evaluation_batches(split, batch_size=_PREDICT_BATCH, view=view)
    order = np.concatenate(reader.evaluation_order(split, batch_size=_PREDICT_BATCH, view=view))
    return batches, np.argsort(order)


class _Tasks(Registry[Task]):
    """A task that is added also adds its schema, so that recipes can name it."""

    def add(self, name: str, value: Task) -> Task:
        super().add(name, value)
        if name not in SCHEMAS:
            SCHEMAS.add(name, value.config_class)
        return value


TASKS: Registry[Task] = _Tasks("task", ConfigError, group="keras_transfer.tasks")
"""By the value of ``task`` in a recipe."""
