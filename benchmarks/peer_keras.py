"""The peer of solar_cells.py: what a practitioner writes with Keras alone. Trains every layer; prints one line of JSON.

All layers, BatchNorm adapting, flips and shifts, AdamW at 1e-3 with warm-up and cosine, batches of 32, 12 epochs at
224 pixels, images decoded beforehand. The pretrained network and the split are those of the recipe.
"""

import argparse
import json
import time

import keras
import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from keras_transfer.backbones.images.efficientnet_lite0 import build_network, load_weights, weights_file
from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.splits.splits import Split, load_splits

SIZE, BATCH = 224, 32


def read(split: Split) -> tuple[np.ndarray, np.ndarray]:
    images = [
        Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR) for file in split.examples.files
    ]
    return np.stack([np.asarray(image) for image in images]), split.targets


def main(seed: int, epochs: int) -> None:
    config = ImageDataConfig(source="solar_cells", validation=0.0, test=0.25, stratify=["probability", "cell_type"])
    splits = load_splits(config, seed=seed)
    keras.utils.set_random_seed(seed)
    x_train, y_train = read(splits.train)
    x_test, y_test = read(splits.test)

    backbone = build_network(SIZE)
    load_weights(backbone, weights_file())
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip()(inputs)
    x = keras.layers.RandomTranslation(0.1, 0.1)(x)
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.GlobalAveragePooling2D()(backbone(x))
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))

    steps = -(-len(x_train) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, (epochs - 1) * steps, warmup_target=1e-3, warmup_steps=steps)
    model.compile(
        keras.optimizers.AdamW(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    started = time.perf_counter()
    model.fit(x_train, y_train, batch_size=BATCH, epochs=epochs, verbose=0)
    seconds = time.perf_counter() - started
    probabilities = model.predict(x_test, batch_size=BATCH, verbose=0)
    accuracy = float((probabilities.argmax(1) == y_test).mean())
    auroc = float(roc_auc_score(y_test, probabilities[:, 1]))
    print(json.dumps({"accuracy": accuracy, "auroc": auroc, "fit_seconds": round(seconds, 1)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    main(**vars(parser.parse_args()))
