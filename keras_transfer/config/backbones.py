"""The backbone section of recipes, by task."""

from pydantic import Field, StrictFloat, StrictStr

from keras_transfer.config.section import Section


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


class AudioBackboneConfig(ImageBackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="speech_embedding",
        description="name from `keras-transfer backbones`, of a network for audio or for images, which then sees "
        "log-mel spectrograms | hub:PRESET of KerasHub | folder of a preset | .keras file for images",
    )


class SpeechBackboneConfig(BackboneConfig):
    """The pretrained network."""

    name: StrictStr = Field(
        default="whisper_tiny_en",
        description="whisper_tiny_en (English) | whisper_base (99 languages) | hub:PRESET of KerasHub's Whisper or "
        "Moonshine | folder of a preset",
    )
