"""The training section of a recipe: how each phase is trained."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StrictFloat, StrictStr

from keras_transfer.config.section import Count, Rate, Section, Share, is_set

# With few validation rows, the wrong epoch is chosen: docs/experiments.md, few labels.
ENOUGH_TO_COMPARE_EPOCHS = 100

# Few images need more steps than large batches allow: docs/experiments.md, few labels.
_LEAST_BATCH, _STEPS_PER_EPOCH = 8, 16
_BATCH_SIZE = (
    "examples per step, over all devices; auto: {most}, or with few training rows as many as make "
    f"{_STEPS_PER_EPOCH} steps per epoch, at least {_LEAST_BATCH}"
)

_LEARNING_RATE = "peak after warm-up; auto: as `keras-transfer find-lr` suggests"

Keep = Literal["auto", "best", "last"]
_KEEP = (
    "the weights of the best epoch, or of the last; auto: of the best if keep_metric or early_stopping is set or there "
    f"are at least {ENOUGH_TO_COMPARE_EPOCHS} validation rows"
)


class EarlyStoppingConfig(Section):
    """When to stop before the last epoch."""

    metric: StrictStr = Field(
        default="val_calibrated_loss",
        description="loss, calibrated_loss (after the best temperature) or a metric of the head, such as macro_f1; "
        "with val_ of validation rows",
    )
    patience: Count = Field(default=3, description="epochs without an improvement before the phase ends")


class TrainingConfig(Section):
    """How each phase is trained."""

    _most_per_step: ClassVar[int] = 32

    epochs: Count = Field(default=8, description="epochs of the last phase")
    batch_size: Count | Literal["auto"] = Field(default="auto", description=_BATCH_SIZE.format(most=32))
    accumulate_steps: Count = Field(
        default=1,
        description="steps per update of the weights, by the mean of their gradients: as a batch_size of N times as "
        "many, in the memory of one",
    )
    learning_rate: Rate | Literal["auto"] = Field(default=1e-3, description=_LEARNING_RATE)
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="learning rate after the warm-up")
    warmup: Share = Field(default=0.1, description="share of a phase's steps in which the learning rate rises from 0")
    weight_decay: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.01, description="weight decay of AdamW; never on biases and norms"
    )
    l2_sp: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.0, description="L2-SP: decay of pretrained weights towards their start, in place of weight_decay"
    )
    clip_norm: Rate | None = Field(default=1.0, description="largest global norm of the gradients; null: no clipping")
    ema: Share = Field(default=0.0, description="momentum of the moving average of the weights; 0: off")
    label_smoothing: Share = Field(default=0.0, description="share of each label spread over all classes")
    class_weights: Literal["none", "balanced"] | Annotated[dict[StrictStr, Rate], Field(min_length=1)] = Field(
        default="none",
        description="factors on the weights of examples; balanced: all classes count the same; or a weight per class",
    )
    loss: StrictStr | None = Field(default=None, description="a loss given from Python in place of the head's")
    metrics: list[StrictStr] = Field(default=[], description="metrics given from Python beside the head's")
    optimizer: StrictStr | None = Field(default=None, description="an optimizer given from Python in place of AdamW")
    keep: Keep = Field(default="auto", description=_KEEP)
    keep_metric: StrictStr = Field(
        default="val_calibrated_loss", description="the metric that the best epoch is chosen by, as in early_stopping"
    )
    early_stopping: EarlyStoppingConfig | None = Field(default=None, description="off by default")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="float32", description="arithmetic; auto: mixed_bfloat16 if it trains faster on this machine"
    )

    @property
    def most_per_step(self) -> int:
        """The largest number of examples per step, over all devices; for ``auto``, it depends on the rows."""
        return self._most_per_step if self.batch_size == "auto" else self.batch_size

    def with_batch_size(self, rows: int, devices: int = 1) -> Self:
        """Return the section with a batch size of ``auto`` resolved to a number.

        Args:
            devices: A resolved batch size is a multiple of it.
        """
        if self.batch_size != "auto":
            return self
        size = min(self._most_per_step, max(_LEAST_BATCH, rows // _STEPS_PER_EPOCH))
        return self.model_copy(update={"batch_size": max(size // devices, 1) * devices})

    @property
    def watches_keep_metric(self) -> bool:
        """Whether the recipe names a metric on validation rows that chooses the best epoch."""
        return self._names_keep_metric and self.keep_metric.startswith("val_")

    @property
    def watches_validation(self) -> bool:
        """Whether the recipe names a metric on validation rows that chooses epochs or stops training."""
        stop = self.early_stopping
        return self.watches_keep_metric or (stop is not None and stop.metric.startswith("val_"))

    def keeps_best(self, validation_rows: int) -> bool:
        """Return whether the weights of the best epoch are kept, with this number of validation rows."""
        if self.keep != "auto":
            return self.keep == "best"
        is_chosen = self._names_keep_metric or self.early_stopping is not None
        return is_chosen or validation_rows >= ENOUGH_TO_COMPARE_EPOCHS

    @property
    def _names_keep_metric(self) -> bool:
        return self.keep != "last" and is_set(self, "keep_metric")


class TextTrainingConfig(TrainingConfig):
    """How each phase is trained."""

    _most_per_step: ClassVar[int] = 16

    # Texts are fine-tuned for few epochs from a head that is already good: docs/experiments.md, few labels.
    keep: Keep = Field(default="best", description=_KEEP)

    epochs: Count = Field(default=3, description="epochs of the last phase")
    learning_rate: Rate | Literal["auto"] = Field(default=3e-4, description=_LEARNING_RATE)
    batch_size: Count | Literal["auto"] = Field(default=16, description=_BATCH_SIZE.format(most=16))


class PretrainingTrainingConfig(TextTrainingConfig):
    """How each phase is trained."""

    learning_rate: Rate | Literal["auto"] = Field(default=1e-4, description=_LEARNING_RATE)


class SpeechTrainingConfig(TrainingConfig):
    """How each phase is trained."""

    _most_per_step: ClassVar[int] = 8

    epochs: Count = Field(default=5, description="epochs of the last phase")
    learning_rate: Rate | Literal["auto"] = Field(default=1e-4, description=_LEARNING_RATE)
    batch_size: Count | Literal["auto"] = Field(default=8, description=_BATCH_SIZE.format(most=8))
