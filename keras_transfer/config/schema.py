"""The schema of recipes: their sections, key by key. Defaults are defined only in this package."""

from operator import attrgetter
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from keras_transfer.config.augmentation import AudioAugmentationConfig, AugmentationConfig, SpeechAugmentationConfig
from keras_transfer.config.backbones import (
    AudioBackboneConfig,
    BackboneConfig,
    ImageBackboneConfig,
    SpeechBackboneConfig,
    TextBackboneConfig,
)
from keras_transfer.config.by_name import ByName
from keras_transfer.config.data import AudioDataConfig, DataConfig, ImageDataConfig, SpeechDataConfig, TextDataConfig
from keras_transfer.config.policies import (
    POLICY_SECTIONS,
    FullPolicyConfig,
    LoraPolicyConfig,
    LpFtPolicyConfig,
    PolicyConfig,
)
from keras_transfer.config.section import Amount, Count, Name, NamedSettings, Probability, Rate, Section, Share
from keras_transfer.config.training import (
    PretrainingTrainingConfig,
    SpeechTrainingConfig,
    TextTrainingConfig,
    TrainingConfig,
)
from keras_transfer.errors import ConfigError
from keras_transfer.registry import Registry


class ThresholdConfig(Section):
    """The probability from which a class or label is predicted: given, or chosen on the validation rows."""

    value: Probability | Annotated[dict[Name, Probability], Field(min_length=1)] | None = Field(
        default=None,
        description="the threshold of the positive one of two classes, or of all labels; or one per class or label",
    )
    metric: Literal["f1", "balanced_accuracy", "accuracy", "matthews_corrcoef"] | None = Field(
        default=None, description="choose thresholds on the validation rows for the best value of this metric"
    )
    costs: Annotated[dict[Name, Rate], Field(min_length=1)] | None = Field(
        default=None,
        description="choose them for the least cost: what it costs to miss a row of each class; of labels, where a "
        "false alarm costs 1",
    )
    positive: Name | None = Field(
        default=None, description="the positive one of two classes; the last class by default"
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
    threshold: ThresholdConfig | None = Field(
        default=None, description="decision thresholds; by default the most probable class, and labels from 0.5 on"
    )
    coverage: Probability | None = Field(
        default=None,
        description="predict sets of classes, uncertain labels or intervals that contain the truth for this share of "
        "new rows; chosen on the validation rows",
    )


class FeatureMapHeadConfig(HeadConfig):
    """The new layers on top of a backbone whose features are a map, over space or time."""

    pooling: Literal["average", "max", "both"] = Field(
        default="average", description="how a feature map is pooled to a vector"
    )


class ImageHeadConfig(FeatureMapHeadConfig):
    """The new layers on top of the backbone."""


class AudioHeadConfig(FeatureMapHeadConfig):
    """The new layers on top of the backbone."""


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


class SpeechHeadConfig(Section):
    """How the network's decoder turns recordings into text; its output layer is the pretrained one."""

    language: StrictStr | None = Field(
        default=None, description="multilingual networks: the language of the transcripts, such as cs"
    )
    task: Literal["transcribe", "translate"] = Field(
        default="transcribe", description="multilingual networks: the text is in the language spoken, or in English"
    )
    beams: Annotated[StrictInt, Field(ge=1, le=64)] = Field(
        default=1, description="beam search with this many hypotheses; 1: greedy decoding"
    )
    timestamps: StrictBool = Field(
        default=False, description="predictions also say when each segment of the text starts and ends"
    )
    longest: Count | Literal["auto"] = Field(
        default="auto", description="most tokens that are decoded per window; auto: half of the decoder's positions"
    )
    no_speech_threshold: Amount = Field(
        default=0.6,
        description="Whisper: no text if silence is more probable than this, unless the text is likely; 1: always text",
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
    """When checkpoints are written, from which a run is resumed; one is always written after each epoch."""

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
        default="auto",
        description="auto: one device; with several GPUs, or given devices, mirrored or, on JAX, data_parallel",
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
    report: StrictBool = Field(default=True, description="write report.html to the run folder")

    @property
    def needs_validation(self) -> bool:
        """Whether the recipe asks for something that requires validation rows."""
        threshold, coverage = (getattr(self.head, key, None) for key in ("threshold", "coverage"))
        chooses = threshold is not None and threshold.value is None
        return self.training.watches_validation or chooses or coverage is not None


class ImageClassificationConfig(RecipeConfig):
    """From images to one class out of several, labels or numbers."""

    task: Literal["image_classification"]
    data: ImageDataConfig
    backbone: ImageBackboneConfig = ImageBackboneConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    head: ImageHeadConfig = ImageHeadConfig()


class AudioClassificationConfig(RecipeConfig):
    """From recordings to one class out of several, labels or numbers."""

    task: Literal["audio_classification"]
    data: AudioDataConfig
    backbone: AudioBackboneConfig = AudioBackboneConfig()
    augmentation: AudioAugmentationConfig = AudioAugmentationConfig()
    head: AudioHeadConfig = AudioHeadConfig()


class SpeechToTextConfig(RecipeConfig):
    """From recordings of speech to their transcripts."""

    task: Literal["speech_to_text"]
    data: SpeechDataConfig
    backbone: SpeechBackboneConfig = SpeechBackboneConfig()
    augmentation: SpeechAugmentationConfig = SpeechAugmentationConfig()
    head: SpeechHeadConfig = SpeechHeadConfig()
    policy: Annotated[
        PolicyConfig,
        # The output layer is tied to the network: there is no head to train alone, and no BatchNorm.
        ByName(POLICY_SECTIONS, default="lora", without=("auto", "head", "lp_ft", "gradual", "batch_norm")),
    ] = LoraPolicyConfig()
    training: SpeechTrainingConfig = SpeechTrainingConfig()


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
    ("audio_classification", AudioClassificationConfig),
    ("image_classification", ImageClassificationConfig),
    ("speech_to_text", SpeechToTextConfig),
    ("text_classification", TextClassificationConfig),
    ("text_pretraining", TextPretrainingConfig),
):
    SCHEMAS.add(_name, _schema)
