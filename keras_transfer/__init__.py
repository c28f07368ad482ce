"""Fine-tune pretrained networks with Keras: from a few hundred labelled images or texts to a model to be served.

Public names are bound when they are first used: importing this package imports neither TensorFlow nor Keras.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.audit.result import Audit
    from keras_transfer.backbones import (
        BACKBONES,
        AudioBackboneRow,
        Backbone,
        ImageBackboneRow,
        InputContract,
        TextBackboneRow,
    )
    from keras_transfer.backbones.texts.hub import TextParts
    from keras_transfer.config.data import (
        AudioDataConfig,
        DataConfig,
        ImageDataConfig,
        SpeechDataConfig,
        TextDataConfig,
    )
    from keras_transfer.config.policies import PolicyConfig
    from keras_transfer.config.schema import (
        SCHEMAS,
        AudioClassificationConfig,
        AudioHeadConfig,
        HeadConfig,
        ImageClassificationConfig,
        ImageHeadConfig,
        RecipeConfig,
        SpeechHeadConfig,
        SpeechToTextConfig,
        TextClassificationConfig,
        TextHeadConfig,
    )
    from keras_transfer.config.section import Section
    from keras_transfer.data.checks.findings import Finding
    from keras_transfer.data.inputs import InputKind
    from keras_transfer.data.readers.base import Reader
    from keras_transfer.data.sources import (
        EXAMPLE_KINDS,
        SAMPLES,
        SOURCES,
        ExampleKind,
        Sample,
        Source,
        SourceKind,
        TableSource,
    )
    from keras_transfer.data.splits.splits import Split, Splits
    from keras_transfer.errors import (
        BackboneError,
        CheckpointError,
        ConfigError,
        DataError,
        ExportError,
        InputError,
        PolicyError,
        RunInterrupted,
        TrainingError,
        TransferError,
        TransferWarning,
    )
    from keras_transfer.explain import EncodedAudio, EncodedImage, Explanation, Piece, Shown
    from keras_transfer.export import EXPORTERS, Description, Exporter, MetricDrop, Parity, Served
    from keras_transfer.heads import (
        HEADS,
        ClassificationHead,
        Head,
        MultilabelHead,
        NumberHead,
        Prediction,
        TargetHead,
    )
    from keras_transfer.heads.evaluation import Figure, Report
    from keras_transfer.job.job import Job
    from keras_transfer.model import TransferModel, build_model
    from keras_transfer.networks.log_mel import LogMel
    from keras_transfer.recipe import (
        AudioClassification,
        ImageClassification,
        Recipe,
        SpeechToText,
        TextClassification,
        TextPretraining,
    )
    from keras_transfer.recipe.cross_validation import CrossValidation, cross_validate
    from keras_transfer.registry import Registry
    from keras_transfer.run.opened import ExportedModel, open_model
    from keras_transfer.run.run import Run
    from keras_transfer.tasks import (
        TASKS,
        AudioClassificationTask,
        Evaluation,
        FinishedRun,
        Given,
        ImageClassificationTask,
        SpeechToTextTask,
        TargetTask,
        Task,
        TextClassificationTask,
        TextTask,
        TrainedModel,
        predict_examples,
    )
    from keras_transfer.trackers import TRACKERS
    from keras_transfer.trackers.base import Tracker
    from keras_transfer.trackers.records import (
        EpochEnded,
        PhaseEnded,
        PhaseStarted,
        ReportMade,
        RunEnded,
        RunStarted,
        StepEnded,
    )
    from keras_transfer.training.policies import POLICIES, Phase, Policy, Scope

__version__ = "0.2.0"

_HOMES = {
    "audit.result": ("Audit",),
    "data.checks.findings": ("Finding",),
    "backbones": (
        "BACKBONES",
        "AudioBackboneRow",
        "Backbone",
        "ImageBackboneRow",
        "InputContract",
        "TextBackboneRow",
    ),
    "backbones.texts.hub": ("TextParts",),
    "config.data": (
        "AudioDataConfig",
        "DataConfig",
        "ImageDataConfig",
        "SpeechDataConfig",
        "TextDataConfig",
    ),
    "config.policies": ("PolicyConfig",),
    "config.schema": (
        "SCHEMAS",
        "AudioClassificationConfig",
        "AudioHeadConfig",
        "HeadConfig",
        "ImageClassificationConfig",
        "ImageHeadConfig",
        "RecipeConfig",
        "SpeechHeadConfig",
        "SpeechToTextConfig",
        "TextClassificationConfig",
        "TextHeadConfig",
    ),
    "config.section": ("Section",),
    "data.inputs": ("InputKind",),
    "data.readers.base": ("Reader",),
    "data.sources": (
        "EXAMPLE_KINDS",
        "SAMPLES",
        "SOURCES",
        "ExampleKind",
        "Sample",
        "Source",
        "SourceKind",
        "TableSource",
    ),
    "data.splits.splits": (
        "Split",
        "Splits",
    ),
    "errors": (
        "BackboneError",
        "CheckpointError",
        "ConfigError",
        "DataError",
        "ExportError",
        "InputError",
        "PolicyError",
        "RunInterrupted",
        "TrainingError",
        "TransferError",
        "TransferWarning",
    ),
    "export": (
        "Description",
        "EXPORTERS",
        "Exporter",
        "MetricDrop",
        "Parity",
        "Served",
    ),
    "explain": (
        "EncodedAudio",
        "EncodedImage",
        "Explanation",
        "Piece",
        "Shown",
    ),
    "heads": (
        "HEADS",
        "ClassificationHead",
        "Head",
        "MultilabelHead",
        "NumberHead",
        "Prediction",
        "TargetHead",
    ),
    "heads.evaluation": (
        "Figure",
        "Report",
    ),
    "job.job": ("Job",),
    "networks.log_mel": ("LogMel",),
    "model": (
        "TransferModel",
        "build_model",
    ),
    "recipe": (
        "AudioClassification",
        "ImageClassification",
        "Recipe",
        "SpeechToText",
        "TextClassification",
        "TextPretraining",
    ),
    "recipe.cross_validation": (
        "CrossValidation",
        "cross_validate",
    ),
    "registry": ("Registry",),
    "run.opened": (
        "ExportedModel",
        "open_model",
    ),
    "run.run": ("Run",),
    "tasks": (
        "AudioClassificationTask",
        "Evaluation",
        "FinishedRun",
        "Given",
        "ImageClassificationTask",
        "SpeechToTextTask",
        "TASKS",
        "TargetTask",
        "Task",
        "TextClassificationTask",
        "TextTask",
        "TrainedModel",
        "predict_examples",
    ),
    "trackers": ("TRACKERS",),
    "trackers.base": ("Tracker",),
    "trackers.records": (
        "EpochEnded",
        "PhaseEnded",
        "PhaseStarted",
        "ReportMade",
        "RunEnded",
        "RunStarted",
        "StepEnded",
    ),
    "training.policies": (
        "POLICIES",
        "Phase",
        "Policy",
        "Scope",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 (sorted as a whole, without regard to case)
    "AudioBackboneRow",
    "AudioClassification",
    "AudioClassificationConfig",
    "AudioClassificationTask",
    "AudioDataConfig",
    "AudioHeadConfig",
    "Audit",
    "Backbone",
    "BackboneError",
    "BACKBONES",
    "build_model",
    "CheckpointError",
    "ClassificationHead",
    "ConfigError",
    "cross_validate",
    "CrossValidation",
    "DataConfig",
    "DataError",
    "Description",
    "EncodedAudio",
    "EncodedImage",
    "EpochEnded",
    "Evaluation",
    "EXAMPLE_KINDS",
    "ExampleKind",
    "Explanation",
    "ExportedModel",
    "Exporter",
    "ExportError",
    "EXPORTERS",
    "Figure",
    "Finding",
    "FinishedRun",
    "Given",
    "Head",
    "HeadConfig",
    "HEADS",
    "ImageBackboneRow",
    "ImageClassification",
    "ImageClassificationConfig",
    "ImageClassificationTask",
    "ImageDataConfig",
    "ImageHeadConfig",
    "InputContract",
    "InputError",
    "InputKind",
    "Job",
    "LogMel",
    "MetricDrop",
    "MultilabelHead",
    "NumberHead",
    "open_model",
    "Parity",
    "Phase",
    "PhaseEnded",
    "PhaseStarted",
    "Piece",
    "POLICIES",
    "Policy",
    "PolicyConfig",
    "PolicyError",
    "predict_examples",
    "Prediction",
    "Reader",
    "Recipe",
    "RecipeConfig",
    "Registry",
    "Report",
    "ReportMade",
    "Run",
    "RunEnded",
    "RunInterrupted",
    "RunStarted",
    "Sample",
    "SAMPLES",
    "SCHEMAS",
    "Scope",
    "Section",
    "Served",
    "Shown",
    "Source",
    "SourceKind",
    "SOURCES",
    "SpeechDataConfig",
    "SpeechHeadConfig",
    "SpeechToText",
    "SpeechToTextConfig",
    "SpeechToTextTask",
    "Split",
    "Splits",
    "StepEnded",
    "TableSource",
    "TargetHead",
    "TargetTask",
    "Task",
    "TASKS",
    "TextBackboneRow",
    "TextClassification",
    "TextClassificationConfig",
    "TextClassificationTask",
    "TextDataConfig",
    "TextHeadConfig",
    "TextParts",
    "TextPretraining",
    "TextTask",
    "Tracker",
    "TRACKERS",
    "TrainedModel",
    "TrainingError",
    "TransferError",
    "TransferModel",
    "TransferWarning",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
