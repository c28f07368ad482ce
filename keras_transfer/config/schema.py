"""What a recipe may say: its sections, key by key. The only place where a default stands."""

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
    """Where the examples come from and how they are divided."""

    example_kind: ClassVar[str]
    """What the examples are, as ``keras_transfer.data.sources.EXAMPLE_KINDS`` calls it; a subclass sets it."""

    source: StrictStr = Field(
        description="a sample set | a folder | a .csv, .jsonl or .parquet file | tfds:NAME, tfds:NAME/CONFIG[SPLIT]"
    )
    data_dir: StrictStr | None = Field(
        default=None, description="tfds: the folder of prepared datasets; by default where TFDS looks"
    )
    validation: Share | StrictStr = Field(
        default=0.15, description="a share of the training part, or a source of its own"
    )
    test: Share | StrictStr = Field(default=0.2, description="a share of all, or a source of its own")
    stratify: list[StrictStr] = Field(
        default=["label"], min_length=1, description="columns whose shares every split keeps"
    )
    target: Literal["class", "multilabel", "number"] = Field(
        default="class", description="one class out of several | any of several labels | numbers"
    )
    label: StrictStr | Annotated[list[StrictStr], Field(min_length=1)] = Field(
        default="label", description="table column: the class; several for labels of 0 and 1, or for numbers"
    )
    separator: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None, description="multilabel: what divides the labels in one column"
    )
    split: StrictStr | None = Field(
        default=None, description="table column: train, validation or test; a part that it lacks is drawn"
    )
    group: StrictStr | None = Field(default=None, description="column: rows of one group never stand in two splits")
    folds: Annotated[StrictInt, Field(ge=2)] | None = Field(
        default=None,
        description="cross-validation: each fold is the test rows of a run of its own, in place of data.test",
    )
    fold: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="the one fold, counted from 1, whose run this is; all of them by default"
    )
    repeats: Count = Field(default=1, description="runs with seed, seed + 1 and so on, which draw other splits")
    per_class: Count | None = Field(
        default=None, description="training rows of each class, drawn by seed; the rest is left out; all by default"
    )
    leaks: Literal["warn", "error", "off"] = Field(
        default="warn", description="what examples that stand in two splits lead to; off: nobody looks"
    )
    weight: StrictStr | None = Field(default=None, description="column: how much an example counts in training")

    @property
    def label_columns(self) -> list[str]:
        """The columns that :attr:`label` names."""
        return [self.label] if isinstance(self.label, str) else self.label

    @property
    def is_several_runs(self) -> bool:
        """Whether a recipe stands for several runs: ``cross_validation.py`` makes them."""
        return self.repeats > 1 or (self.folds is not None and self.fold is None)


class ImageDataConfig(DataConfig):
    """Images: where they come from, how they are divided and read."""

    example_kind: ClassVar[str] = "image"

    path: StrictStr = Field(default="path", description="table column: where the image lies")
    root: StrictStr | None = Field(
        default=None, description="the folder that paths in tables are relative to; by default the table's own"
    )
    bytes: StrictStr | None = Field(
        default=None,
        description="column of Parquet or Arrow: the image file's content; source: a file, a folder or a/*.parquet",
    )
    broken: Literal["error", "skip"] = Field(default="error", description="what files that cannot be read lead to")
    image_size: Annotated[StrictInt, Field(ge=16, le=2048)] | None = Field(
        default=None, description="height and width in pixels; the backbone's own by default"
    )
    channels: Annotated[StrictInt, Field(ge=1, le=256)] = Field(
        default=3, description="1: grey; 3: colour; others: as files have them, for a first convolution that is adapted"
    )
    # Four channels of the largest are as many numbers as TensorFlow decodes.
    max_pixels: Annotated[StrictInt, Field(ge=1, lt=2**27)] = Field(
        default=100_000_000, description="larger images are refused by what their header says, and not decoded"
    )
    resize: Literal["crop", "pad", "stretch"] = Field(default="crop", description="how an image becomes square")


class TextDataConfig(DataConfig):
    """Texts: where they come from, how they are divided and read."""

    example_kind: ClassVar[str] = "text"

    text: StrictStr = Field(default="text", description="table column: the text")
    text_pair: StrictStr | None = Field(default=None, description="table column: a second text, for pairs")
    broken: Literal["error", "skip", "replace"] = Field(
        default="error", description="what texts that are empty or no UTF-8 lead to; replace: U+FFFD for wrong bytes"
    )
    sequence_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] = Field(
        default="auto", description="most tokens of a text; auto: 99 % of the training texts are whole"
    )
    predict_length: Annotated[StrictInt, Field(ge=4)] | Literal["auto"] | None = Field(
        default=None,
        description="most tokens of a text that is validated, tested or served; by default as many as are learned from",
    )


class AugmentationConfig(Section):
    """Random changes to training images; 0 or false is none."""

    horizontal_flip: StrictBool = Field(default=True, description="mirror left and right")
    vertical_flip: StrictBool = Field(default=False, description="mirror top and bottom")
    quarter_turns: StrictBool = Field(default=False, description="turn by 0, 90, 180 or 270 degrees")
    rotation: Annotated[StrictFloat, Field(ge=0.0, le=180.0)] = Field(
        default=0.0, description="turn by up to so many degrees"
    )
    crop: Share = Field(default=0.0, description="cut up to this share off the sides, anywhere")
    zoom: Share = Field(default=0.0, description="scale by up to this share, in or out")
    shift: Share = Field(default=0.0, description="move by up to this share of the side")
    brightness: Amount = Field(default=0.0, description="add up to this share of the full range")
    contrast: Amount = Field(default=0.0, description="stretch or squeeze the values by up to this share")
    saturation: Amount = Field(default=0.0, description="stretch or squeeze the colours by up to this share")
    randaugment: Annotated[StrictInt, Field(ge=0, le=10)] = Field(
        default=0, description="two of 14 operations an image, at this magnitude out of 10"
    )
    erase: Amount = Field(default=0.0, description="chance that a rectangle of 2 to 33 % of the area is blotted out")
    mixup: Alpha = Field(default=0.0, description="blend with another image, by a share from Beta(mixup, mixup)")
    cutmix: Alpha = Field(default=0.0, description="paste a box of another image, of an area from Beta(cutmix, cutmix)")
    function: StrictStr | None = Field(
        default=None,
        description="a change of one's own, after the others; from Python alone, which gives it a name here",
    )
    predict_flips: StrictBool = Field(
        default=False, description="average predictions over the flips that are on; 2 or 4 times the work"
    )


class BackboneConfig(Section):
    """The pretrained network."""

    name: StrictStr = Field(default="efficientnet_lite0", description="see `keras-transfer backbones`")
    weights: StrictStr = Field(default="pretrained", description="pretrained | none | a file or a run folder")


class ImageBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="efficientnet_lite0",
        description="see `keras-transfer backbones`; hub:PRESET of KerasHub; a preset's folder; a .keras file",
    )
    input_range: tuple[StrictFloat, StrictFloat] | None = Field(
        default=None, description="what a model from a .keras file takes for black and for white: [0, 255] | [-1, 1]"
    )


class TextBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="minilm", description="see `keras-transfer backbones`; a KerasHub preset; a preset's or model's folder"
    )


class HeadConfig(Section):
    """The new layers on top."""

    name: StrictStr | None = Field(
        default=None, description="head of a package that is installed; by default the one of data.target"
    )
    settings: dict[StrictStr, Any] = Field(default={}, description="keys of a package's head; see its documentation")
    dropout: Share = Field(default=0.2, description="share of features dropped in training")
    hidden: Count | None = Field(default=None, description="width of a hidden layer; none by default")
    loss: Literal["squared_error", "huber"] = Field(
        default="squared_error", description="numbers: huber counts what is off by more than a deviation less"
    )


class ImageHeadConfig(HeadConfig):
    """The new layers on top."""

    pooling: Literal["average", "max", "both"] = Field(default="average", description="feature map to vector")


class TextHeadConfig(HeadConfig):
    """The new layers on top."""

    pooling: Literal["auto", "own", "mean", "first", "last"] = Field(
        default="auto",
        description="tokens to vector; own: the family's; auto: as the network was made, else mean, last for decoders",
    )
    label_texts: Literal["names", "none"] | dict[StrictStr, StrictStr] = Field(
        default="names",
        description="a head solved on few texts learns from what classes are called too, where that helps on rows held "
        "out; none; or a text for each class",
    )


class MaskedHeadConfig(Section):
    """What masked tokens are found again by: it is tied to the network's embeddings and has a share alone to choose."""

    mask_selection_rate: Annotated[StrictFloat, Field(gt=0.0, lt=1.0)] = Field(
        default=0.15, description="share of a text's tokens that are to be found again"
    )


class CacheConfig(Section):
    """What the frozen stages put out, kept on disk."""

    views: Annotated[StrictInt, Field(ge=0)] = Field(
        default=2, description="augmented views of each example; 1: the plain image; 0: no cache"
    )
    dtype: Literal["float32", "float16"] = Field(default="float32", description="on disk; float16 halves it")
    max_bytes: Count = Field(default=10_000_000_000, description="of all entries; the least recently used go first")


class CheckpointConfig(Section):
    """When a run is saved in between, so that it can be resumed; at each epoch's end it always is."""

    every_seconds: Rate | None = Field(default=300.0, description="after a step, so long after the last; null: never")
    every_steps: Count | None = Field(default=None, description="after a step, so many after the last; null: never")
    grace_seconds: Rate = Field(
        default=20.0,
        description="after SIGTERM: what the next step and its checkpoint may take",
    )


class DistributionConfig(Section):
    """Over which devices and processes a run is spread."""

    strategy: Literal["auto", "none", "mirrored", "multi_worker", "data_parallel", "model_parallel"] = Field(
        default="auto", description="auto: mirrored where there are several GPUs, else none"
    )
    devices: Count | Annotated[list[StrictStr], Field(min_length=1)] | None = Field(
        default=None, description="of each process: how many, or their names; all by default; a CPU is split into many"
    )
    workers: list[StrictStr] = Field(
        default=[], description="host:port of each process, the chief first; by default from TF_CONFIG or SLURM"
    )
    worker: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="which of them this process is, from 0; in an override: recipes are alike"
    )
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = Field(
        default="none", description="factor on training.learning_rate: 1 | number of devices | its square root"
    )
    timeout_seconds: Rate = Field(
        default=120.0, description="how long a process waits at the start for others that do not come"
    )


class EarlyStoppingConfig(Section):
    """When to stop before the last epoch."""

    metric: StrictStr = Field(
        default="val_loss", description="loss or a metric of the head, such as macro_f1; with val_ of validation rows"
    )
    patience: Count = Field(default=3, description="epochs without an improvement before the phase ends")


class TrainingConfig(Section):
    """How each phase is trained."""

    epochs: Count = Field(default=8, description="epochs of the last phase")
    batch_size: Count = Field(default=32, description="examples a step, over all devices")
    learning_rate: Rate | Literal["auto"] = Field(
        default=1e-3, description="the peak, after warm-up; auto: see `keras-transfer find-lr`"
    )
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="what follows the warm-up")
    warmup: Share = Field(default=0.1, description="share of a phase's steps over which the rate rises from 0")
    weight_decay: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.01, description="AdamW's; never on biases and norms"
    )
    l2_sp: Annotated[StrictFloat, Field(ge=0.0)] = Field(
        default=0.0, description="decay of pretrained weights towards their start, in place of weight_decay"
    )
    clip_norm: Rate | None = Field(default=1.0, description="global norm that gradients are scaled down to")
    ema: Share = Field(
        default=0.0, description="how much of its value the running average of the weights keeps a step; 0 is off"
    )
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
        default="float32", description="arithmetic; auto: mixed_bfloat16 where it trains faster on this machine"
    )


class TextTrainingConfig(TrainingConfig):
    """How each phase is trained."""

    epochs: Count = Field(default=3, description="epochs of the last phase")
    learning_rate: Rate | Literal["auto"] = Field(
        default=3e-4, description="the peak, after warm-up; auto: see `keras-transfer find-lr`"
    )
    batch_size: Count = Field(default=16, description="examples a step, over all devices")


class PretrainingTrainingConfig(TextTrainingConfig):
    """How each phase is trained."""

    learning_rate: Rate | Literal["auto"] = Field(
        default=1e-4, description="the peak, after warm-up; auto: see `keras-transfer find-lr`"
    )


class NamedSettings(Section):
    """A part that a registry holds: ``NAME``, or ``{name: NAME, ...}`` with settings that the part itself declares."""

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
    """What a run leaves for serving."""

    formats: list[NamedSettings] = Field(
        default=[NamedSettings(name="saved_model")],
        description="saved_model, or an installed plugin's; by name, or {name: NAME, ...} with settings; [] for none",
    )


class PretrainingExportConfig(ExportConfig):
    """What a run leaves for serving: nothing; the next recipe names its folder as backbone.weights."""

    formats: list[NamedSettings] = Field(default=[], description="there is nothing to serve")


class RecipeConfig(Section):
    """One transfer-learning job: what recipes of every task have."""

    task: StrictStr
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31)] = Field(
        default=0, description="of splits, weights, order, augmentation"
    )
    deterministic: StrictBool = Field(
        default=False, description="the same seed gives the same weights; slower on a GPU"
    )
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
    """Images in; one class out of several, labels or numbers out."""

    task: Literal["image_classification"]
    data: ImageDataConfig
    backbone: ImageBackboneConfig = ImageBackboneConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    head: ImageHeadConfig = ImageHeadConfig()


class TextClassificationConfig(RecipeConfig):
    """Texts in; one class out of several, labels or numbers out."""

    task: Literal["text_classification"]
    data: TextDataConfig
    backbone: TextBackboneConfig = TextBackboneConfig()
    head: TextHeadConfig = TextHeadConfig()
    training: TextTrainingConfig = TextTrainingConfig()


class TextPretrainingConfig(RecipeConfig):
    """Texts in, and the tokens that were masked in them out: a network to start another recipe from."""

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
