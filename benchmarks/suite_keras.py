"""A process of suite.py: fine-tuning as Keras' guide does it, with Keras alone. Usage: CELL_FOLDER

https://keras.io/guides/transfer_learning: average pooling, dropout of 0.2 and a new Dense layer on a frozen network, 20
epochs of Adam; then all layers, with BatchNorm in inference mode, 10 epochs of Adam at 1e-5; batches of 32, random
rotations by up to a tenth of a turn as in the guide, and flips where the set allows them. The network and its weights
are those of the recipe.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from suite_cell import Cell, write_predicted

from keras_transfer.backbones.images.efficientnet_lite0 import build_network, load_weights, weights_file


def read(files: list[str], size: int) -> np.ndarray:
    images = [Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR) for file in files]
    return np.stack([np.asarray(image) for image in images])


def main(folder: Path) -> None:
    cell = Cell.read(folder)
    keras.utils.set_random_seed(cell.seed)
    (train, labels), (test, _) = ((read(files, cell.size), np.array(rows)) for files, rows in (cell.train, cell.test))
    base = build_network(cell.size)
    load_weights(base, weights_file())
    base.trainable = False
    inputs = x = keras.Input((cell.size, cell.size, 3))
    if cell.flips:
        x = keras.layers.RandomFlip("_and_".join(sorted(cell.flips)))(x)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(len(cell.classes))(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for optimizer, epochs in ((keras.optimizers.Adam(), 20), (keras.optimizers.Adam(1e-5), 10)):
        model.compile(optimizer, loss, jit_compile=False)
        model.fit(train, labels, batch_size=32, epochs=epochs, verbose=0)
        base.trainable = True
    logits = model.predict(test, batch_size=64, verbose=0)
    write_predicted(folder, keras.ops.convert_to_numpy(keras.ops.softmax(logits)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
