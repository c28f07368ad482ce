"""A backbone: a network of three small convolutions."""

import keras

from keras_transfer import ImageBackboneRow, InputContract


def build(size: int | None) -> keras.Model:
    """Build the network; its weights are drawn from a fixed seed, and count as pretrained."""
    pixels = keras.Input((size, size, 3))
    x = pixels
    for block, width in enumerate((8, 12, 16), start=1):
        draw = keras.initializers.HeNormal(seed=block)
        x = keras.layers.Conv2D(
            width, 3, strides=2, padding="same", kernel_initializer=draw, name=f"block{block}_conv"
        )(x)
        x = keras.layers.BatchNormalization(name=f"block{block}_bn")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    return keras.Model(pixels, x, name="pocket")


POCKET = ImageBackboneRow(
    name="pocket",
    build=build,
    build_pretrained=build,
    contract=InputContract(scale=1 / 127.5, offset=-1.0),
    image_size=32,
    minimum_size=8,
    parameters=2988,
    stages=3,
    weights_source="random, by transfer-plugin",
    weights_file=lambda: None,
)
