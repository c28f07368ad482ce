"""Which families of backbones go to which export format: writes docs/formats.md.

Each family's smallest member gets random weights and small inputs, is written in each format, and runs there. ONNX and
LiteRT (--formats onnx litert) take 20 minutes on one core, and saved_model 10; --state keeps the results of families
that are done.
"""

import argparse
import gc
import importlib.metadata
import inspect
import json
import runpy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.audio.hub import find_speech_families
from keras_transfer.backbones.audio.load import load_audio_backbone
from keras_transfer.backbones.images.applications import APPLICATIONS
from keras_transfer.backbones.images.hub import find_image_families, load_hub_backbone
from keras_transfer.backbones.texts.hub import find_families
from keras_transfer.backbones.texts.rows import load_text_backbone
from keras_transfer.config.augmentation import AudioAugmentationConfig, AugmentationConfig
from keras_transfer.config.backbones import AudioBackboneConfig
from keras_transfer.config.schema import AudioHeadConfig, ImageHeadConfig, TextHeadConfig
from keras_transfer.config.weights import Weights
from keras_transfer.data.readers.images import ImageReader
from keras_transfer.data.readers.recordings import AudioReader
from keras_transfer.data.readers.texts import TextReader
from keras_transfer.errors import TransferError
from keras_transfer.export import Served
from keras_transfer.export.litert import convert_to_litert
from keras_transfer.export.onnx import convert_to_onnx
from keras_transfer.export.saved_model import write_saved_model
from keras_transfer.export.tensor_graph import TensorGraph, trace_tensors
from keras_transfer.heads import ClassificationHead
from keras_transfer.model import build_model, with_features

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "formats.md"
FORMATS = ("saved_model", "onnx", "litert")
NAMES = ("a", "b", "c")
# What sums in another order may change of a probability.
TOLERANCE = 1e-4
RATE = 16_000


def applications() -> dict[str, str]:
    """The smallest member of each family of keras.applications, which are its modules."""
    smallest = {}
    for name, application in sorted(APPLICATIONS.items(), key=lambda item: item[1].parameters):
        module = inspect.getmodule(getattr(keras.applications, application.class_name))
        smallest.setdefault(module.__name__.rsplit(".", 1)[1], name)
    return smallest


def families() -> dict[str, tuple[str, str]]:
    """By ``source: family``, what is built: a kind and a name."""
    own = [name for name in BACKBONES if name not in APPLICATIONS and BACKBONES[name].modality == "image"]
    audio = [name for name in BACKBONES if BACKBONES[name].modality == "audio"]
    return {
        **{f"keras.applications: {family}": ("row", name) for family, name in sorted(applications().items())},
        **{f"packages: {name}": ("row", name) for name in own},
        **{f"KerasHub images: {name}": ("hub_image", name) for name in find_image_families()},
        **{f"KerasHub texts: {name}": ("hub_text", name) for name in find_families()},
        **{f"packages, audio: {name}": ("audio", name) for name in audio},
        **{f"spectrograms: {name}": ("audio", name) for name in own},
        **{f"KerasHub audio: {name}": ("hub_audio", name) for name in find_speech_families()},
    }


def build(kind: str, name: str, folder: Path) -> tuple[keras.Model, ClassificationHead, object, dict[str, np.ndarray]]:
    """A model with a head for three classes, its reader, and a batch of tensors."""
    keras.utils.set_random_seed(0)
    if kind == "hub_text":
        make = runpy.run_path(str(ROOT / "tests" / "contract" / "test_text_families.py"))
        body, preprocessor = make["build"](name)
        body.save_to_preset(str(folder))
        preprocessor.save_to_preset(str(folder))
        backbone = load_text_backbone(str(folder))
        reader = TextReader(backbone.encoder, segments=1, limit=16, pads_to_longest=backbone.pads_to_longest)
        head = ClassificationHead(NAMES, TextHeadConfig())
        tensors = backbone.encoder.encode([(text,) for text in make["TEXTS"]], 16)
        return build_model(backbone, head).predictor, head, reader, tensors
    if kind in ("audio", "hub_audio"):
        return build_audio(name if kind == "audio" else save_speech(name, folder))
    if kind == "hub_image":
        make = runpy.run_path(str(ROOT / "tests" / "contract" / "test_image_families.py"))
        make["save"](name, folder)
        backbone = load_hub_backbone(str(folder))
    else:
        backbone = BACKBONES[name].load(image_size=BACKBONES[name].minimum_size, weights="none")
    size = backbone.image_size
    reader = ImageReader(
        image_size=size, channels=3, resize="crop", augmentation=AugmentationConfig(), seed=0, max_pixels=10**6
    )
    head = ClassificationHead(NAMES, ImageHeadConfig())
    pixels = np.random.default_rng(0).uniform(0, 255, (3, size, size, 3)).astype("float32")
    return build_model(backbone, head).predictor, head, reader, {"pixels": pixels}


def save_speech(name: str, folder: Path) -> str:
    """Save a small network for speech, and return the name of its preset."""
    make = runpy.run_path(str(ROOT / "tests" / "contract" / "test_speech_families.py"))
    make["save"](name, str(folder))
    return str(folder)


def build_audio(name: str) -> tuple[keras.Model, ClassificationHead, object, dict[str, np.ndarray]]:
    """A model for recordings of a second; the batch has longer and shorter ones."""
    weights = Weights.RANDOM if name in BACKBONES else Weights.PRETRAINED
    backbone = load_audio_backbone(AudioBackboneConfig(name=name), weights=weights).for_samples(RATE)
    reader = AudioReader(
        sample_rate=RATE,
        samples=RATE,
        padding="silence",
        augmentation=AudioAugmentationConfig(),
        seed=0,
        max_seconds=60,
    )
    head = ClassificationHead(NAMES, AudioHeadConfig())
    samples = np.random.default_rng(0).normal(0, 0.1, (3, 5 * RATE // 2)).astype("float32")
    samples[1, RATE:] = samples[2, RATE // 2 :] = 0
    return build_model(backbone, head).predictor, head, reader, {"samples": samples}


def write_and_load(form: str, served: Served, graph: TensorGraph, folder: Path) -> Callable[..., dict[str, Any]]:
    """Write a model in a format, and return a function from tensors by name to outputs by name."""
    if form == "saved_model":
        write_saved_model(served.model, served.head, served.reader, folder)
        serve = tf.saved_model.load(str(folder)).signatures[served.reader.tensor_endpoint]
        return lambda **tensors: serve(**{key: tf.constant(x) for key, x in tensors.items()})
    if form == "onnx":
        import onnxruntime

        content = convert_to_onnx(graph, opset=17).SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda **tensors: dict(zip(names, session.run(names, tensors), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=convert_to_litert(graph)).get_signature_runner()


def measure(kind: str, name: str, forms: Sequence[str]) -> dict[str, str]:
    """The largest difference for each format, or the message that says why there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        model, head, reader, tensors = build(kind, name, Path(scratch) / "preset")
        inputs = tensors if kind == "hub_text" else next(iter(tensors.values()))
        # A graph: layer by layer, Keras compiles each convolution.
        call = tf.function(with_features(model), autograph=False)
        probabilities, features = map(np.asarray, call(inputs, training=False))
        served = Served(model, head, reader, Path(scratch), None, {})
        graph = trace_tensors(served)
        results = {}
        for form in forms:
            try:
                found = write_and_load(form, served, graph, Path(scratch) / form)(**tensors)
                differences = [np.abs(found["probabilities"] - probabilities).max()]
                differences.append(np.abs(found["features"] - features).max() / np.abs(features).max())
                largest = float(max(differences))
                results[form] = f"{largest:.0e}" if largest <= TOLERANCE else f"differs by {largest:.1g}"
            except TransferError as error:
                results[form] = str(error)
            except Exception as error:
                results[form] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return results


def write_page(results: dict[str, dict[str, str]], formats: Sequence[str]) -> None:
    """Write the table, and below it why formats are missing."""
    packages = ("tensorflow", "keras", "keras-hub", "tf2onnx", "onnxruntime", "ai-edge-litert")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    lines = [
        "# Which backbone goes to which format",
        "",
        "Each family's smallest member, with random weights and small inputs, was written in each format and run.",
        "A number is the largest difference from the Keras model: of a probability, or of a feature as a share of the",
        "largest feature. `no`: `keras-transfer export` refuses it, with the message below the table.",
        "",
        f"`python benchmarks/formats.py` writes this page. Versions: {versions}.",
        "",
        f"| family | {' | '.join(formats)} |",
        f"|---|{'---|' * len(formats)}",
    ]
    refused = []
    for family, row in results.items():
        cells = [row[form] if len(row[form]) < 6 else "no" for form in formats]
        lines.append(f"| {family} | {' | '.join(cells)} |")
        refused += [f"- {family}, {form}: {row[form]}" for form in formats if len(row[form]) >= 6]
    if refused:
        lines += ["", "## What is refused, and why", "", *refused]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(state: Path | None, only: str | None, formats: Sequence[str]) -> None:
    results = json.loads(state.read_text()) if state and state.exists() else {}
    for family, (kind, name) in families().items():
        missing = [form for form in formats if form not in results.get(family, {})]
        if not missing or (only and only not in family):
            continue
        results[family] = {**results.get(family, {}), **measure(kind, name, missing)}
        print(family, results[family], flush=True)
        if state:
            state.write_text(json.dumps(results, indent=1))
        keras.backend.clear_session()
        gc.collect()
    if not only:
        write_page({family: results[family] for family in families()}, formats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, help="a JSON file of results")
    parser.add_argument("--only", help="families whose name contains this; the page is not written")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    main(**vars(parser.parse_args()))
