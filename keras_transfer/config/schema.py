"""The schema of recipes: their sections, key by key. Defaults are here and nowhere else."""

from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from keras_transfer.config.by_name import ByName
from keras_transfer.config.policies import POLICY_SECTIONS, FullPolicyConfig, LpFtPolicyConfig, PolicyConfig
from keras_transfer.config.section import Alpha, Amount, Count, Rate, Section, Share
from keras_transfer.errors import ConfigError
from keras_transfer.registry import Registry


class DataConfig(Section):
    """The source of the examples, and how they are split."""

    example_kind: ClassVar[str]
    """What the examples are, as ``keras_transfer.data.sources.EXAMPLE_KINDS`` calls it; a subclass sets it."""

    source: StrictStr = Field(
        description="sample set | folder | .csv, .jsonl or .parquet file | tfds:NAME or tfds:NAME/CONFIG[SPLIT]"
    )
    data_dir: StrictStr | None = Field(
        default=None, description="folder of prepared TFDS datasets; TFDS' own by default"
    )
    validation: Share | StrictStr = Field(
        default=0.15, description="share of the rows left after the test rows, or another source; 0 for none"
    )
    test: Share | StrictStr = Field(default=0.2, description="share of all rows, or another source; 0 for none")
    stratify: list[StrictStr] = Field(
        default=["label"], min_length=1, description="columns whose values have the same shares in every split"
    )
    target: Literal["class", "multilabel", "number"] = Field(
        default="class", description="one class out of several | any number of labels | numbers"
    )
    label: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = Field(
        default="label", description="column of the class; a list of columns for labels of 0 and 1, or for numbers"
    )
    separator: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None, description="multilabel: text between the labels in a single column"
    )
    split: StrictStr | None = Field(
        default=None, description="column with train, validation or test; a split that it does not name is drawn"
    )
    group: StrictStr | None = Field(
        default=None, description="column of groups; all rows of a group are in the same split"
    )
    folds: Annotated[StrictInt, Field(ge=2)] | None = Field(
        default=None,
        description="number of folds for cross-validation: one run per fold, with the fold as its test rows",
    )
    fold: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="run only this fold, counted from 1; all folds by default"
    )
    repeats: Count = Field(
        default=1, description="number of runs, with seed, seed + 1 and so on, which draw other splits"
    )
    per_class: Count | None = Field(
        default=None, description="number of training rows per class, drawn by seed; all by default"
    )
    leaks: Literal["warn", "error", "off"] = Field(
        default="warn", description="what happens if examples appear in two splits; off: they are not searched for"
    )
    weight: StrictStr | None = Field(default=None, description="column of the weights of examples in training")

    @property
    def label_columns(self) -> list[str]:
        """The columns that :attr:`label` names."""
        return [self.label] if isinstance(self.label, str) else self.label

    @property
    def is_several_runs(self) -> bool:
        """Whether a recipe describes several runs, for :func:`keras_transfer.cross_validate`."""
        return self.repeats > 1 or (self.folds is not None and self.fold is None)


class ImageDataConfig(DataConfig):
    """The source of the images, and how they are split and read."""

    example_kind: ClassVar[str] = "image"

    path: StrictStr = Field(default="path", description="column of the paths of image files")
    root: StrictStr | None = Field(
        default=None, description="folder that the paths in tables are relative to; the table's own by default"
    )
    bytes: StrictStr | None = Field(
        default=None,
        description="column of encoded images in Parquet or Arrow; data.source is a file, a folder or a/*.parquet",
    )
    broken: Literal["error", "skip"] = Field(default="error", description="what happens to files that cannot be read")
    image_size: Annotated[StrictInt, Field(ge=16, le=2048)] | None = Field(
        default=None, description="height and width in pixels; the backbone's default size by default"
    )
    channels: Annotated[StrictInt, Field(ge=1, le=256)] = Field(
        default=3, description="1: greyscale; 3: RGB; other numbers: as in the files, with an adapted first convolution"
    )
    # Four channels of the largest are as many numbers as TensorFlow decodes.
    max_pixels: Annotated[StrictInt, Field(ge=1, lt=2**27)] = Field(
        default=100_000_000, description="larger images are refused by their header, without decoding them"
    )
    resize: Literal["crop", "pad", "stretch"] = Field(default="crop", description="how images are made square")


class TextDataConfig(DataConfig):
    """The source of the texts, and how they are split and read."""

    example_kind: ClassVar[str] = "text"

    text: StrictStr = Field(default="text", description="column of the texts")
    text_pair: StrictStr | None = Field(default=None, description="column of the second texts, for pairs")
    broken: Literal["error", "skip", "replace"] = Field(
        default="error",
        description="what happens to texts that are empty or not UTF-8; replace: U+FFFD for invalid bytes",
    )
    sequence_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] = Field(
        default="auto", description="longest text in tokens, in training; auto: 99 % of the training texts fit"
    )
    predict_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] | None = Field(
        default=None,
        description="longest text in tokens, in evaluation and predictions; as sequence_length by default",
    )


class AugmentationConfig(Section):
    """Random changes to training images; 0 or false turns a change off."""

    horizontal_flip: StrictBool = Field(default=True, description="mirror images left to right")
    vertical_flip: StrictBool = Field(default=False, description="mirror images top to bottom")
    quarter_turns: StrictBool = Field(default=False, description="rotate by 0, 90, 180 or 270 degrees")
    rotation: Annotated[StrictFloat, Field(ge=0.0, le=180.0)] = Field(
        default=0.0, description="rotate by up to N degrees"
    )
    crop: Share = Field(default=0.0, description="crop at random, by up to this share of the sides")
    zoom: Share = Field(default=0.0, description="zoom in or out by up to this share")
    shift: Share = Field(default=0.0, description="shift by up to this share of the side")
    brightness: Amount = Field(default=0.0, description="change brightness by up to this share of the full range")
    contrast: Amount = Field(default=0.0, description="change contrast by up to this share")
    saturation: Amount = Field(default=0.0, description="change saturation by up to this share")
    randaugment: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        default=0, description="RandAugment: two of 14 operations per image, at this magnitude out of 10"
    )
    erase: Amount = Field(
        default=0.0, description="random erasing: probability that a rectangle of 2 to 33 % of the area is erased"
    )
    mixup: Alpha = Field(default=0.0, description="blend two images, with a share from Beta(mixup, mixup)")
    cutmix: Alpha = Field(
        default=0.0, description="paste a box of another image, with an area from Beta(cutmix, cutmix)"
    )
    function: StrictStr | None = Field(
        default=None,
        description="a Keras layer or function from Python, applied after the other changes; its name is recorded here",
    )
    predict_flips: StrictBool = Field(
        default=False, description="average predictions over the flips that are on, at 2 or 4 times the cost"
    )


class BackboneConfig(Section):
    """The pretrained network."""

    name: StrictStr = Field(default="efficientnet_lite0", description="name from `keras-transfer backbones`")
    weights: StrictStr = Field(default="pretrained", description="pretrained | none | weights file | run folder")


class ImageBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="efficientnet_lite0",
        description="name from `keras-transfer backbones` | hub:PRESET of KerasHub | folder of a preset | .keras file",
    )
    input_range: tuple[StrictFloat, StrictFloat] | None = Field(
        default=None,
        description=".keras files: values of black and white that the model expects, such as [0, 255] or [-1, 1]",
    )


class TextBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="minilm",
        description="name from `keras-transfer backbones` | KerasHub preset | folder of a preset or model",
    )


class HeadConfig(Section):
    """The new layers on top of the backbone."""

    name: StrictStr | None = Field(
        default=None, description="head of an installed package; the head for data.target by default"
    )
    settings: dict[StrictStr, Any] = Field(default={}, description="keys of a package's head; see its documentation")
    dropout: Share = Field(default=0.2, description="share of the features dropped in training")
    hidden: Count | None = Field(default=None, description="width of a hidden layer; no hidden layer by default")
    loss: Literal["squared_error", "huber"] = Field(
        default="squared_error", description="numbers: huber is quadratic up to one standard deviation, linear beyond"
    )


class ImageHeadConfig(HeadConfig):
    """The new layers on top of the backbone."""

    pooling: Literal["average", "max", "both"] = Field(
        default="average", description="how a feature map is pooled to a vector"
    )


class TextHeadConfig(HeadConfig):
    """The new layers on top of the backbone."""

    pooling: Literal["auto", "own", "mean", "first", "last"] = Field(
        default="auto",
        description="how tokens are pooled to a vector; own: by the network's pooler; auto: as the network was "
        "trained, else mean (last for decoders)",
    )
    label_texts: Literal["names", "none"] | dict[StrictStr, StrictStr] = Field(
        default="names",
        description="names: with few texts, a solved head also learns from the label names, if that helps on held-out "
        "rows; none; or a text per class",
    )


class MaskedHeadConfig(Section):
    """The masked language model head, which is tied to the network's embeddings."""

    mask_selection_rate: Annotated[StrictFloat, Field(gt=0.0, lt=1.0)] = Field(
        default=0.15, description="share of the tokens that are masked"
    )


class CacheConfig(Section):
    """The output of frozen stages, cached on disk."""

    views: Annotated[StrictInt, Field(ge=0)] = Field(
        default=2, description="number of augmented views per example; 1: the image without augmentation; 0: no cache"
    )
    dtype: Literal["float32", "float16"] = Field(
        default="float32", description="type on disk; float16 halves the space"
    )
    max_bytes: Count = Field(
        default=10_000_000_000, description="most bytes of all entries; the least recently used are removed first"
    )


class CheckpointConfig(Section):
    """When checkpoints are written, by which a run is resumed; one is always written after each epoch."""

    every_seconds: Rate | None = Field(
        default=300.0, description="seconds from one checkpoint to the next within an epoch; null: none"
    )
    every_steps: Count | None = Field(
        default=None, description="steps from one checkpoint to the next within an epoch; null: none"
    )
    grace_seconds: Rate = Field(
        default=20.0,
        description="seconds after SIGTERM within which the next step and its checkpoint must be done",
    )


class DistributionConfig(Section):
    """The devices and processes that share a run."""

    strategy: Literal["auto", "none", "mirrored", "multi_worker", "data_parallel", "model_parallel"] = Field(
        default="auto", description="auto: mirrored if there are several GPUs, else none"
    )
    devices: Count | Annotated[list[StrictStr], Field(min_length=1)] | None = Field(
        default=None,
        description="number or names of the devices of each process; all by default; a CPU can be split into several",
    )
    workers: list[StrictStr] = Field(
        default=[], description="host:port of each process, the chief first; from TF_CONFIG or SLURM by default"
    )
    worker: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="index of this process among the workers, from 0; set it by an override"
    )
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        default="none", description="factor on training.learning_rate: 1, the number of devices, or its square root"
    )
    timeout_seconds: Rate = Field(default=120.0, description="seconds that a process waits for the others at the start")


class EarlyStoppingConfig(Section):
    """When to stop before the last epoch."""

    metric: StrictStr = Field(
        default="val_loss", description="loss or a metric of the head, such as macro_f1; with val_ of validation rows"
    )
    patience: Count = Field(default=3, description="epochs without an improvement before the phase ends")


class TrainingConfig(Section):
    """How each phase is trained."""

    epochs: Count = Field(default=8, description="epochs of the last phase")
    batch_size: Count = Field(default=32, description="examples per step, over all devices")
    learning_rate: Rate | Literal["auto"] = Field(
        default=1e-3, description="peak after warm-up; auto: as `keras-transfer find-lr` suggests"
    )
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
    keep: Literal["best", "last"] = Field(default="best", description="the weights of the best epoch, or of the last")
    keep_metric: StrictStr = Field(
        default="val_loss", description="keep=best: the metric that the best epoch is chosen by, as in early_stopping"
    )
    early_stopping: EarlyStoppingConfig | None = Field(default=None, description="off by default")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="float32", description="arithmetic; auto: mixed_bfloat16 if it trains faster on this machine"
    )


class TextTrainingConfig(TrainingConfig):
    """How each phase is trained."""

    epochs: Count = Field(default=3, description="epochs of the last phase")
    learning_rate: Rate | Literal["auto"] = Field(
        default=3e-4, description="peak after warm-up; auto: as `keras-transfer find-lr` suggests"
    )
    batch_size: Count = Field(default=16, description="examples per step, over all devices")


class PretrainingTrainingConfig(TextTrainingConfig):
    """How each phase is trained."""

    learning_rate: Rate | Literal["auto"] = Field(
        default=1e-4, description="peak after warm-up; auto: as `keras-transfer find-lr` suggests"
    )


class NamedSettings(Section):
    """A part from a registry: ``NAME``, or ``{name: NAME, ...}`` with settings that the part declares."""

    model_config = ConfigDict(extra="allow")

    name: StrictStr

    @property
    def settings(self) -> dict[str, Any]:
        """The settings beside the name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="before")
    @classmethod
    def _take_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _give_name(self, serialize: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        return serialize(self) if self.settings else self.name

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A name alone is valid, too."""
        return {"anyOf": [{"type": "string"}, handler(core)]}


class ExportConfig(Section):
    """The exported model, for serving."""

    formats: list[NamedSettings] = Field(
        default=[NamedSettings(name="saved_model")],
        description="saved_model, or an installed plugin's; by name, or {name: NAME, ...} with settings; [] for none",
    )


class PretrainingExportConfig(ExportConfig):
    """Nothing is exported: the next recipe names the run folder as backbone.weights."""

    formats: list[NamedSettings] = Field(default=[], description="pre-training has no model to serve")


class RecipeConfig(Section):
    """One transfer-learning job: the sections that recipes of every task have.

    Example:
        >>> config = ImageClassificationConfig(task="image_classification", data={"source": "images/"})
        >>> config.policy.name, config.export.formats[0].name
        ('lp_ft', 'saved_model')
    """

    task: StrictStr
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = Field(
        default=0, description="seed of splits, new weights, order and augmentation"
    )
    deterministic: StrictBool = Field(default=False, description="same seed, same weights; slower on a GPU")
    data: DataConfig
    backbone: BackboneConfig = BackboneConfig()
    head: Section = HeadConfig()
    policy: Annotated[PolicyConfig, ByName(POLICY_SECTIONS, default="lp_ft")] = LpFtPolicyConfig()
    training: TrainingConfig = TrainingConfig()
    cache: CacheConfig = CacheConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    distribution: DistributionConfig = DistributionConfig()
    trackers: list[NamedSettings] = Field(
        default=[],
        description="tensorboard, mlflow, wandb, trackio, or an installed plugin's; by name, or {name: NAME, ...} with "
        "settings",
    )
    export: ExportConfig = ExportConfig()


class ImageClassificationConfig(RecipeConfig):
    """From images to one class out of several, labels or numbers."""

    task: Literal["image_classification"]
    data: ImageDataConfig
    backbone: ImageBackboneConfig = ImageBackboneConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    head: ImageHeadConfig = ImageHeadConfig()


class TextClassificationConfig(RecipeConfig):
    """From texts to one class out of several, labels or numbers."""

    task: Literal["text_classification"]
    data: TextDataConfig
    backbone: TextBackboneConfig = TextBackboneConfig()
    head: TextHeadConfig = TextHeadConfig()
    training: TextTrainingConfig = TextTrainingConfig()


class TextPretrainingConfig(RecipeConfig):
    """Masked language modelling on texts, for another recipe to start from."""

    task: Literal["text_pretraining"]
    data: TextDataConfig
    backbone: TextBackboneConfig = TextBackboneConfig()
    head: MaskedHeadConfig = MaskedHeadConfig()
    policy: Annotated[
        PolicyConfig,
        # auto compares classifiers, and networks for texts have no BatchNorm.
        ByName(POLICY_SECTIONS, default="full", without=("auto", "batch_norm")),
    ] = FullPolicyConfig()
    training: PretrainingTrainingConfig = PretrainingTrainingConfig()
    export: PretrainingExportConfig = PretrainingExportConfig()


SCHEMAS: Registry[type[RecipeConfig]] = Registry(
    "task", ConfigError, group="keras_transfer.tasks", take=attrgetter("config_class")
)
"""The schema of each task; a plugin's task brings its own."""

for _name, _schema in (
    ("image_classification", ImageClassificationConfig),
    ("text_classification", TextClassificationConfig),
    ("text_pretraining", TextPretrainingConfig),
):
    SCHEMAS.add(_name, _schema)
