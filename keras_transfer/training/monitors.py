"""Metrics that choose the best epoch or stop a phase, and whether higher values of them are better."""

import math
from dataclasses import dataclass

from keras_transfer.config.training import TrainingConfig
from keras_transfer.errors import ConfigError
from keras_transfer.heads import Head, Mode
from keras_transfer.heads.epoch_metrics import CALIBRATED_LOSS
from keras_transfer.registry import did_you_mean
from keras_transfer.training.custom_parts import BUILT_IN, CustomParts

_VALIDATION = "val_"


@dataclass(frozen=True)
class Monitor:
    """A metric of each epoch on which a decision is based.

    Attributes:
        name: Its name in the history, such as ``val_loss``.
        mode: Whether a lower or a higher value is better.
    """

    name: str
    mode: Mode

    def is_better(self, value: float, best: float | None) -> bool:
        """Return whether a value is finite and better than the best one so far; any is better than None."""
        if not math.isfinite(value) or best is None:
            return math.isfinite(value)
        return value < best if self.mode == "min" else value > best


@dataclass(frozen=True)
class Monitors:
    """The decisions of a recipe that are based on metrics.

    Attributes:
        keep: Chooses the best epoch; None if the recipe keeps the last one.
        early_stopping: Stops a phase; None without early stopping.
    """

    keep: Monitor | None = None
    early_stopping: Monitor | None = None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics, without ``val_``."""
        return tuple(monitor.name.removeprefix(_VALIDATION) for monitor in (self.keep, self.early_stopping) if monitor)


def find_monitors(config: TrainingConfig, head: Head, custom: CustomParts = BUILT_IN) -> Monitors:
    """Resolve the metrics that a recipe names, before anything is trained.

    Args:
        config: Names the metrics in ``keep_metric`` and ``early_stopping.metric``.

    Raises:
        ConfigError: There is no such metric, or it is unknown whether higher values are better.
    """
    modes: dict[str, Mode | None] = {"loss": "min", **{metric.name: metric.mode for metric in head.epoch_metrics()}}
    modes |= custom.metric_modes(head)
    # Numbers and masked tokens have no calibration, and a temperature only applies to the head's own loss.
    instead = {} if CALIBRATED_LOSS in modes and custom.loss is None else {CALIBRATED_LOSS: "loss"}

    def find(key: str, name: str) -> Monitor:
        prefix = _VALIDATION if name.startswith(_VALIDATION) else ""
        metric = name.removeprefix(_VALIDATION)
        metric = instead.get(metric, metric)
        if metric not in modes:
            known = {f"{prefix}{known}" for known in modes}
            raise ConfigError(
                f"{key}: this head has no metric {metric!r}. Received: {name}. {did_you_mean(name, known)} "
                f"Metrics: {', '.join(modes)}; each also with {_VALIDATION} in front."
            )
        mode = modes[metric]
        if mode is None:
            raise ConfigError(
                f"{key}: whether a higher {metric} is better is unknown. Set the attribute direction of the metric to "
                "'max' or 'min'."
            )
        return Monitor(f"{prefix}{metric}", mode)

    stop = config.early_stopping
    return Monitors(
        keep=find("training.keep_metric", config.keep_metric) if config.keep != "last" else None,
        early_stopping=find("training.early_stopping.metric", stop.metric) if stop else None,
    )
