"""Loss, metrics and optimizer from Python, which replace or extend those of the recipe."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_transfer.config.from_python import mark_object, read_mark
from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import CheckpointError, ConfigError, list_lines
from keras_transfer.heads import Head, Mode
from keras_transfer.networks.keras_internals import direction_of
from keras_transfer.networks.types import JsonObject, Loss, Metric, Optimizer, Tensor
from keras_transfer.training.policies import Phase

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""From encoded targets and raw outputs to losses."""

_OPTIMIZER_KEYS = ("learning_rate", "schedule", "warmup", "weight_decay", "l2_sp", "clip_norm", "ema")
"""What a recipe says of its own optimizer."""


@dataclass(frozen=True)
class CustomParts:
    """The parts that a user gives from Python; the recipe makes those that are None or empty.

    Attributes:
        loss: A function of encoded targets and raw outputs: one-hot classes and logits, labels of 0 and 1 and logits,
            or standardized numbers. A head with a custom loss is trained, never solved.
        metrics: Keras metrics, or functions of targets and predictions, reported every epoch in addition to the head's
            own. They take the predictions of a finished run: probabilities, or numbers in their own units. A metric
            that chooses an epoch needs the attribute ``direction``, ``"max"`` or ``"min"``, unless Keras knows it.
        optimizer: Each phase trains with a fresh copy of it, made from its configuration, at its learning rate times
            the phase's factor.

    Example:
        >>> import keras
        >>> CustomParts(optimizer=keras.optimizers.Lion(1e-4)).names
        ('optimizer',)
    """

    loss: Loss | LossFunction | None = None
    metrics: Sequence[Metric | LossFunction] = ()
    optimizer: Optimizer | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts that are given: a recipe file alone cannot reproduce them."""
        given = {"loss": self.loss is not None, "metrics": bool(self.metrics), "optimizer": self.optimizer is not None}
        return tuple(name for name, is_given in given.items() if is_given)

    def get_state(self) -> JsonObject:
        """Return a description of the parts: checkpoints cannot store them, and a resumed run needs the same ones."""
        metrics = [[_name(metric), _describe(metric)] for metric in self.metrics]
        return {"loss": _describe(self.loss), "metrics": metrics, "optimizer": _describe(self.optimizer)}

    def set_state(self, state: JsonObject) -> None:
        """Compare the parts with those with which a run was started.

        Raises:
            CheckpointError: The parts differ.
        """
        now = self.get_state()
        lines = [f"{name}: {state[name]} then, {now[name]} now" for name in now if now[name] != state[name]]
        if lines:
            raise CheckpointError(
                f"The run was started with other parts from Python:\n{list_lines(lines)}\n"
                "Resume it with the same ones, or choose another --out."
            )

    @property
    def marks(self) -> dict[str, str | list[str]]:
        """The keys of a recipe's training section that name the parts given."""
        marks: dict[str, str | list[str]] = {}
        if self.loss is not None:
            marks["loss"] = mark_object(getattr(self.loss, "__name__", None) or type(self.loss).__name__)
        if self.metrics:
            marks["metrics"] = [mark_object(_name(metric)) for metric in self.metrics]
        if self.optimizer is not None:
            marks["optimizer"] = mark_object(type(self.optimizer).__name__)
        return marks

    def check_marks(self, training: TrainingConfig) -> None:
        """Check that a recipe names exactly the parts that are given: a file cannot contain them.

        Raises:
            ConfigError: A part that is named is not given.
        """
        for key in ("loss", "metrics", "optimizer"):
            named = getattr(training, key)
            if named and named != self.marks.get(key):
                names = named if isinstance(named, list) else [named]
                given = ", ".join(str(read_mark(name) or repr(name)) for name in names)
                raise ConfigError(
                    f"training.{key}: {given} has to be passed from Python, since the recipe file does not store it. "
                    f"Pass it to the recipe's class, {key}=..., or leave training.{key} out."
                )

    @property
    def allows_solved_head(self) -> bool:
        """Whether a head may be solved: a solution is the optimum of the head's own loss."""
        return self.loss is None

    def check(self, head: Head, training: TrainingConfig, *, policy: str, phases: Sequence[Phase]) -> None:
        """Check before training that the parts fit the recipe.

        Raises:
            ConfigError: They do not; all problems are reported at once.
        """
        problems = [
            *_find_problems_of_loss(self.loss, head, training, phases),
            *_find_problems_of_metrics(self.metrics, head),
            *_find_problems_of_optimizer(self.optimizer, training, phases),
        ]
        if self.names and policy == "auto":
            problems.append(f"policy.name: auto does not use the {self.names[0]} given from Python. Name a policy.")
        if problems:
            raise ConfigError(f"Parts given from Python do not fit the recipe:\n{list_lines(problems)}")

    def make_loss(self, head: Head, config: TrainingConfig) -> Loss | LossFunction:
        """Return the loss of a phase."""
        return head.loss(label_smoothing=config.label_smoothing) if self.loss is None else self.loss

    def make_metrics(self, head: Head, names: Sequence[str] = ()) -> list[Metric]:
        """Return new metrics for a phase: the head's, and the given ones."""
        return [*head.metrics(names), *(_OfPredictions(_copy_metric(metric), head) for metric in self.metrics)]

    def metric_modes(self, head: Head) -> dict[str, Mode | None]:
        """Return whether a higher value is better for each given metric; None if unknown."""
        return {_name(metric): _mode(metric) for metric in self.metrics}

    def make_optimizer(self, rate: float) -> Optimizer | None:
        """Return a fresh copy of the optimizer, not yet built; None if none was given."""
        return None if self.optimizer is None else copy_optimizer(self.optimizer, rate=rate)


BUILT_IN = CustomParts()
"""All parts are the recipe's own."""


def copy_optimizer(optimizer: Optimizer, *, rate: float) -> Optimizer:
    """Copy an optimizer from its configuration, without its state."""
    config: JsonObject = optimizer.get_config()
    learning_rate = config["learning_rate"]
    if isinstance(learning_rate, dict):
        config["learning_rate"] = ScaledSchedule(keras.saving.deserialize_keras_object(learning_rate), rate)
    else:
        config["learning_rate"] = float(learning_rate) * rate
    return type(optimizer).from_config(config)


@keras.saving.register_keras_serializable(package="keras_transfer")
class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule multiplied by a factor.

    Args:
        factor: The factor.
    """

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Tensor) -> Tensor:
        """Return the learning rate for a step."""
        return self.schedule(step) * self.factor

    def get_config(self) -> JsonObject:
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}

    @classmethod
    def from_config(cls, config: JsonObject) -> "ScaledSchedule":
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["factor"])


class _OfPredictions(keras.metrics.Metric):
    """A user's metric, which takes predictions, as a metric of raw outputs."""

    def __init__(self, metric: Metric, head: Head) -> None:
        super().__init__(name=metric.name)
        self._of_predictions, self._head, self._final_layer = metric, head, head.final_layer()

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        self._of_predictions.update_state(self._head.decode(y_true), self._final_layer(y_pred))

    def result(self) -> Tensor:
        return self._of_predictions.result()

    def reset_state(self) -> None:
        self._of_predictions.reset_state()


def _describe(part: Any) -> Any:
    """Class and configuration as JSON, without a name that Keras may have numbered."""
    if part is None:
        return None
    if not hasattr(part, "get_config"):
        return str(getattr(part, "__name__", type(part).__name__))
    config = {key: value for key, value in part.get_config().items() if key != "name"}
    return json.loads(json.dumps([type(part).__name__, config], default=str))


def _name(metric: Metric | LossFunction) -> str:
    return str(metric.name if isinstance(metric, keras.metrics.Metric) else getattr(metric, "__name__", "metric"))


def _mode(metric: Metric | LossFunction) -> Mode | None:
    direction = getattr(metric, "direction", None) or direction_of(metric)
    modes: dict[Any, Mode] = {"max": "max", "up": "max", "min": "min", "down": "min"}
    return modes.get(direction)


def _copy_metric(metric: Metric | LossFunction) -> Metric:
    """A copy of the metric if its class can make one, so that it belongs to the devices of the run."""
    if not isinstance(metric, keras.metrics.Metric):
        return keras.metrics.MeanMetricWrapper(metric, name=_name(metric))
    kind = type(metric)
    return kind.from_config(metric.get_config()) if "get_config" in vars(kind) else metric


def _find_problems_of_loss(
    loss: Loss | LossFunction | None, head: Head, training: TrainingConfig, phases: Sequence[Phase]
) -> Iterator[str]:
    if loss is None:
        return
    kind, config = type(loss).__name__, loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    if not callable(loss):
        yield f"loss: expected a keras.losses.Loss or a function. Received: {loss!r}."
    if config.get("from_logits") is False:
        yield f"loss: {kind} is given logits. Make it with from_logits=True."
    if kind.startswith("Sparse"):
        yield f"loss: targets are one-hot, and {kind} takes indices. Use {kind.removeprefix('Sparse')}."
    if training.label_smoothing:
        yield "training.label_smoothing: it belongs to the built-in loss. Set it on your loss, and leave this out."
    if getattr(getattr(head, "config", None), "loss", "squared_error") != "squared_error":
        yield "head.loss: a loss was given from Python. Leave one of them out."
    if any(phase.solve for phase in phases):
        yield "policy.head_solver: solve minimizes the head's own loss, but another loss was given. Use sgd or auto."


def _find_problems_of_metrics(metrics: Sequence[Metric | LossFunction], head: Head) -> Iterator[str]:
    taken = {"loss", *(metric.name for metric in head.epoch_metrics())}
    for metric in metrics:
        config = metric.get_config() if isinstance(metric, keras.metrics.Metric) else {}
        if not isinstance(metric, keras.metrics.Metric) and not callable(metric):
            yield f"metrics: expected a keras.metrics.Metric or a function. Received: {metric!r}."
            continue
        name, kind = _name(metric), type(metric).__name__
        if name in taken:
            yield f"metrics: the name {name} is taken. Give your metric another one. Taken: {', '.join(sorted(taken))}."
        taken.add(name)
        if config.get("from_logits"):
            yield f"metrics: {name} is given probabilities. Make it with from_logits=False."
        if kind.startswith("Sparse"):
            yield f"metrics: targets are one-hot, and {kind} takes indices. Use {kind.removeprefix('Sparse')}."


def _find_problems_of_optimizer(
    optimizer: Optimizer | None, training: TrainingConfig, phases: Sequence[Phase]
) -> Iterator[str]:
    if optimizer is None:
        return
    if not isinstance(optimizer, keras.optimizers.Optimizer) or "learning_rate" not in optimizer.get_config():
        yield f"optimizer: expected a keras.optimizers.Optimizer with a learning_rate. Received: {optimizer!r}."
    fields = type(training).model_fields
    changed = [key for key in _OPTIMIZER_KEYS if getattr(training, key) != fields[key].default]
    for key in changed:
        yield f"training.{key}: it belongs to the built-in optimizer. Set it on your optimizer, and leave this out."
    if training.accumulate_steps > 1 and getattr(optimizer, "gradient_accumulation_steps", None):
        yield "training.accumulate_steps: the optimizer accumulates gradients itself. Leave one of the two out."
    if any(phase.stage_decay != 1.0 for phase in phases):
        yield "policy.stage_decay: only the built-in optimizer has a learning rate for each stage. Leave it out."
