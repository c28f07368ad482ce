"""The augmentation section of recipes, by what is augmented."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from keras_transfer.config.section import Alpha, Amount, Section, Share


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


class SampleAugmentationConfig(Section):
    """Random changes to training recordings that keep their words intact; 0, null or false turns a change off."""

    gain: Annotated[StrictFloat, Field(ge=0.0, le=60.0)] = Field(
        default=0.0, description="louder or softer by up to N dB"
    )
    noise: Annotated[StrictFloat, Field(ge=-20.0, le=100.0)] | None = Field(
        default=None, description="white noise, at a signal-to-noise ratio of N to N + 20 dB"
    )
    speed: Annotated[StrictFloat, Field(ge=0.0, le=0.5)] = Field(
        default=0.0, description="faster or slower by up to this share; the pitch changes with it"
    )
    time_mask: Share = Field(
        default=0.0, description="SpecAugment: silence a stretch of time of up to this share of the clip"
    )
    frequency_mask: Share = Field(
        default=0.0, description="SpecAugment: remove a band of up to this share of the mel frequencies"
    )
    function: StrictStr | None = Field(
        default=None,
        description="a function from Python, applied after the other changes; its name is recorded here",
    )


class AudioAugmentationConfig(SampleAugmentationConfig):
    """Random changes to training recordings; 0, null or false turns a change off."""

    crop: StrictBool = Field(default=True, description="recordings longer than data.seconds: a random part of them")
    shift: Share = Field(default=0.0, description="shift in time by up to this share of the clip")
    mixup: Alpha = Field(default=0.0, description="blend two recordings, with a share from Beta(mixup, mixup)")


class SpeechAugmentationConfig(SampleAugmentationConfig):
    """Random changes to training recordings; 0 or null turns a change off."""
