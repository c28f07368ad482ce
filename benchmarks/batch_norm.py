"""BatchNorm by the fused kernel, and folded into convolutions, against Keras' own: images a second.

Of efficientnet_lite0, all layers training; a folded network only predicts. All in this process, in turn; medians over
rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from keras_transfer.backbones.images.efficientnet_lite0 import build_network
from keras_transfer.networks.batch_norm import fold_batch_norm, fuse_batch_norm

BATCH, STEPS = 32, 3


def build(size: int, *, fused: bool) -> keras.Model:
    network = build_network(size)
    if fused:
        fuse_batch_norm(network)
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(network.output))
    model = keras.Model(network.input, outputs)
    model.compile(keras.optimizers.AdamW(1e-4), "mse", jit_compile=False)
    return model


def main(size: int, rounds: int) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (BATCH, size, size, 3)).astype("float32")
    y = random.normal(size=(BATCH, 2)).astype("float32")
    keras_own, fused = (build(size, fused=fused) for fused in (False, True))
    trained = {"keras.layers": keras_own, "fused": fused}
    compare("training", trained, lambda model: model.train_on_batch(x, y), rounds)
    predicting = {**trained, "folded": fold_batch_norm(fused)}
    compare("prediction", predicting, lambda model: model.predict_on_batch(x), rounds)


def compare(kind: str, models: dict[str, keras.Model], step: Callable[[keras.Model], object], rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        step(model)  # traces
    for _ in range(rounds):
        for name, model in models.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                step(model)
            rates[name].append(STEPS * BATCH / (time.perf_counter() - started))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    own, *others = medians
    line = f"{kind:<11} {own} {medians[own]:6.1f}/s"
    line += "".join(f"   {name} {medians[name]:6.1f}/s, ratio {medians[name] / medians[own]:.2f}" for name in others)
    print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    main(**vars(parser.parse_args()))
