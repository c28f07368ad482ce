"""The recipe: its schema, its YAML, its overrides.

Names are imported when they are first used: `keras-transfer list` needs none of the schema, which takes time to build.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_transfer.config.data import (
        TABLE_KEYS,
        AudioDataConfig,
        DataConfig,
        FileDataConfig,
        ImageDataConfig,
        OtherSource,
        PathKeys,
        SpeechDataConfig,
        TextDataConfig,
    )
    from keras_transfer.config.policies import POLICY_SECTIONS, AutoPolicyConfig, PolicyConfig
    from keras_transfer.config.recipe_file import expand_names, parse_recipe, read_recipe, write_recipe
    from keras_transfer.config.schema import (
        SCHEMAS,
        AudioAugmentationConfig,
        AudioBackboneConfig,
        AudioClassificationConfig,
        AudioHeadConfig,
        AugmentationConfig,
        BackboneConfig,
        CacheConfig,
        CheckpointConfig,
        DistributionConfig,
        ExportConfig,
        FeatureMapHeadConfig,
        HeadConfig,
        ImageBackboneConfig,
        ImageClassificationConfig,
        ImageHeadConfig,
        MaskedHeadConfig,
        PretrainingExportConfig,
        RecipeConfig,
        SampleAugmentationConfig,
        SpeechAugmentationConfig,
        SpeechBackboneConfig,
        SpeechHeadConfig,
        SpeechToTextConfig,
        TextBackboneConfig,
        TextClassificationConfig,
        TextHeadConfig,
        TextPretrainingConfig,
    )
    from keras_transfer.config.training import (
        EarlyStoppingConfig,
        PretrainingTrainingConfig,
        SpeechTrainingConfig,
        TextTrainingConfig,
        TrainingConfig,
    )

_HOMES = {
    "data": (
        "AudioDataConfig",
        "DataConfig",
        "FileDataConfig",
        "ImageDataConfig",
        "TABLE_KEYS",
        "OtherSource",
        "PathKeys",
        "SpeechDataConfig",
        "TextDataConfig",
    ),
    "policies": (
        "POLICY_SECTIONS",
        "AutoPolicyConfig",
        "PolicyConfig",
    ),
    "recipe_file": (
        "expand_names",
        "parse_recipe",
        "read_recipe",
        "write_recipe",
    ),
    "schema": (
        "SCHEMAS",
        "AudioAugmentationConfig",
        "AudioBackboneConfig",
        "AudioClassificationConfig",
        "AudioHeadConfig",
        "AugmentationConfig",
        "BackboneConfig",
        "CacheConfig",
        "CheckpointConfig",
        "DistributionConfig",
        "ExportConfig",
        "FeatureMapHeadConfig",
        "HeadConfig",
        "ImageBackboneConfig",
        "ImageClassificationConfig",
        "ImageHeadConfig",
        "MaskedHeadConfig",
        "PretrainingExportConfig",
        "RecipeConfig",
        "SpeechBackboneConfig",
        "SpeechHeadConfig",
        "SpeechAugmentationConfig",
        "SpeechToTextConfig",
        "SampleAugmentationConfig",
        "TextBackboneConfig",
        "TextClassificationConfig",
        "TextHeadConfig",
        "TextPretrainingConfig",
    ),
    "training": (
        "EarlyStoppingConfig",
        "PretrainingTrainingConfig",
        "SpeechTrainingConfig",
        "TextTrainingConfig",
        "TrainingConfig",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "POLICY_SECTIONS",
    "SCHEMAS",
    "TABLE_KEYS",
    "AudioAugmentationConfig",
    "AudioBackboneConfig",
    "AudioClassificationConfig",
    "AudioDataConfig",
    "AudioHeadConfig",
    "AugmentationConfig",
    "AutoPolicyConfig",
    "BackboneConfig",
    "CacheConfig",
    "CheckpointConfig",
    "DataConfig",
    "DistributionConfig",
    "EarlyStoppingConfig",
    "ExportConfig",
    "FeatureMapHeadConfig",
    "FileDataConfig",
    "HeadConfig",
    "ImageBackboneConfig",
    "ImageClassificationConfig",
    "ImageDataConfig",
    "ImageHeadConfig",
    "MaskedHeadConfig",
    "OtherSource",
    "PathKeys",
    "PolicyConfig",
    "PretrainingExportConfig",
    "PretrainingTrainingConfig",
    "RecipeConfig",
    "SampleAugmentationConfig",
    "SpeechAugmentationConfig",
    "SpeechBackboneConfig",
    "SpeechDataConfig",
    "SpeechHeadConfig",
    "SpeechToTextConfig",
    "SpeechTrainingConfig",
    "TextBackboneConfig",
    "TextClassificationConfig",
    "TextDataConfig",
    "TextHeadConfig",
    "TextPretrainingConfig",
    "TextTrainingConfig",
    "TrainingConfig",
    "expand_names",
    "parse_recipe",
    "read_recipe",
    "write_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
