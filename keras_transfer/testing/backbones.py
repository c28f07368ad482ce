"""The contract of a backbone."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer.backbones import AudioBackboneRow, Backbone, BackboneRow, ImageBackboneRow, TextBackboneRow
from keras_transfer.config.from_python import read_mark
from keras_transfer.config.weights import Weights
from keras_transfer.errors import BackboneError
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file
from keras_transfer.networks.stages import submodel

_TEXTS = (("a short text",), ("a longer text, of more words than the first one has",), ("",))
_LENGTHS = (8, 13)


def check_backbone(row: BackboneRow) -> None:
    """Check that a backbone fulfils its contract, with random weights; nothing is downloaded.

    It can be built for images of two sizes, or for texts or recordings of two lengths. Its number of parameters is that
    of its entry, and every weight is in exactly one stage. The stages, run one after the other, return the output of
    the whole network. Its input contract is applied to raw inputs. Saved weights can be loaded, from ``.weights.h5``
    and from ``.keras``. A size below ``minimum_size``, a length below ``shortest`` or above ``longest``, and a missing
    file of weights raise the project's own errors.

    Args:
        row: The backbone's entry.

    Raises:
        AssertionError: The backbone does not fulfil the contract.

    Example:
        >>> from keras_transfer import BACKBONES
        >>> check_backbone(BACKBONES["efficientnet_lite0"])
    """
    kinds = ImageBackboneRow | TextBackboneRow | AudioBackboneRow
    _check(row, isinstance(row, kinds), "it is a row for images, texts or recordings", type(row))
    _check(row, bool(row.name) and read_mark(row.name) is None, "it has a name", row.name)
    _check(row, bool(row.weights_source), "weights_source says where its weights come from", row.weights_source)
    _check(row, isinstance(row.available, bool), "`available` is true or false", row.available)
    if isinstance(row, ImageBackboneRow):
        _check_images(row)
    elif isinstance(row, TextBackboneRow):
        _check_texts(row)
    elif isinstance(row, AudioBackboneRow):
        _check_recordings(row)


def _check(row: BackboneRow, holds: bool, rule: str, received: object) -> None:
    if not holds:
        raise AssertionError(f"The contract of backbone {row.name!r}: {rule}. Received: {received!r:.300}")


def _check_images(row: ImageBackboneRow) -> None:
    small = row.minimum_size
    backbone = row.load(image_size=small, weights=Weights.RANDOM)
    larger = row.load(image_size=small + 32, weights=Weights.RANDOM)
    sizes = (backbone.image_size, larger.image_size)
    _check(row, sizes == (small, small + 32), "it is built for the size that is asked for", sizes)
    _check(row, row.image_size >= small, "image_size is at least minimum_size", row.image_size)
    _check(row, len(backbone.stages) == row.stages, "it has as many stages as the row says", len(backbone.stages))
    counts = (len(backbone.network.weights), len(larger.network.weights))
    _check(row, counts[0] == counts[1], "it has the same weights at every size", counts)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, small, small, 3)).astype(np.float32)
    inputs = backbone.inputs()
    prepared = keras.Model(inputs, keras.layers.Identity()(backbone.prepare(inputs)))(pixels)
    scaled = row.contract(keras.ops.convert_to_tensor(pixels))
    _check(row, _same(prepared, scaled), "prepare() applies the input contract to raw pixels", None)
    _check_stages(row, backbone, prepared)
    _check_weights(row, backbone, prepared, image_size=small)
    _check_refusal(row, "image_size", image_size=small - 1)


def _check_texts(row: TextBackboneRow) -> None:
    backbone = row.load(weights=Weights.RANDOM)
    inputs: dict[str, Any] = {}
    for length in _LENGTHS:
        inputs = backbone.encoder.encode(_TEXTS, length)
        outputs = keras.ops.convert_to_numpy(backbone.network(inputs))
        shape = (len(_TEXTS), backbone.network.output_shape[-1])
        _check(row, outputs.shape == shape, "it gives one vector per text", outputs.shape)
        _check(row, bool(np.isfinite(outputs).all()), "its outputs are finite", outputs[0][:5])
        _check(row, np.ptp(outputs, axis=0).max() > 0, "different texts give different outputs", outputs[0][:5])
    _check(row, set(inputs) == set(backbone.inputs()), "the encoder gives the inputs of the network", list(inputs))
    longest = backbone.maximum_length
    _check(row, longest >= max(_LENGTHS), "maximum_length is that of its network", longest)
    _check_stages(row, backbone, inputs)
    _check_weights(row, backbone, inputs)
    with tempfile.TemporaryDirectory() as folder:
        backbone.encoder.save(Path(folder))
        again = type(backbone.encoder).load(Path(folder))
    same = again.fingerprint == backbone.encoder.fingerprint
    _check(row, same, "its tokenizer can be saved and loaded", None)


def _check_recordings(row: AudioBackboneRow) -> None:
    short, long = row.shortest, min(row.longest or 2 * row.shortest, 2 * row.shortest)
    _check(row, short <= row.samples <= (row.longest or row.samples), "it can be built for `samples`", row.samples)
    backbone = row.load(samples=short, weights=Weights.RANDOM)
    _check(row, backbone.samples == short, "it is built for the length that is asked for", backbone.samples)
    _check(row, len(backbone.stages) == row.stages, "it has as many stages as the row says", len(backbone.stages))
    larger = backbone.for_samples(long)
    own = [keras.ops.convert_to_numpy(weight) for weight in backbone.network.weights]
    kept = [keras.ops.convert_to_numpy(weight) for weight in larger.network.weights]
    same = len(own) == len(kept) and all(map(np.array_equal, own, kept))
    _check(row, same and larger.samples == long, "for_samples() keeps the weights", larger.samples)
    noise = np.random.default_rng(0).normal(0, 0.1, (3, long)).astype(np.float32)
    noise[2] = 0
    for one in (backbone, larger):
        inputs = one.inputs()
        prepared = one.prepare(inputs)
        shapes = tuple(prepared.shape), one.network.input_shape
        _check(row, shapes[0] == shapes[1], "the front end gives the shape that the network takes", shapes)
        model = keras.Model(inputs, one.network(prepared))
        outputs = keras.ops.convert_to_numpy(model(noise[:, : one.samples]))
        _check(row, bool(np.isfinite(outputs).all()), "its outputs are finite, for silence too", outputs.ravel()[:5])
        _check(row, np.ptp(outputs, axis=0).max() > 0, "different recordings give different outputs", outputs.shape)
    with tempfile.TemporaryDirectory() as folder:
        write_keras_file(model, Path(folder) / "saved.keras")
        again = read_keras_file(Path(folder) / "saved.keras", BackboneError)(noise)
    _check(row, _same(again, outputs), "the front end is saved in a .keras file with the network", None)
    inputs = backbone.inputs()
    prepared = keras.Model(inputs, backbone.prepare(inputs))(noise[:, :short])
    _check_stages(row, backbone, prepared)
    _check_weights(row, backbone, prepared, samples=short)
    _check_refusal(row, "samples", samples=short - 1)
    if row.longest is not None:
        _check_refusal(row, "samples", samples=row.longest + 1)


def _check_stages(row: BackboneRow, backbone: Backbone, inputs: Any) -> None:
    network, stages = backbone.network, backbone.stages
    _check(row, network.count_params() == row.parameters, "it has the row's parameters", network.count_params())
    _check(row, len(stages) > 1, "its graph can be cut into stages", len(stages))
    in_stages = [id(weight) for stage in stages for weight in stage.weights]
    _check(row, len(in_stages) == len(set(in_stages)), "no weight is in two stages", len(in_stages))
    missing = [weight.path for weight in network.weights if id(weight) not in set(in_stages)]
    _check(row, not missing, "every weight is in a stage", missing)
    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    whole, middle = network(inputs), len(stages) // 2
    front, back = submodel(network, stages, 0, middle), submodel(network, stages, middle, len(stages))
    boundary = keras.tree.flatten(front(inputs))
    read = {id(x) for stage in stages[middle:] for x in stage.inputs}
    names = [x.name for x in network.inputs if id(x) in read]
    values = [*boundary, *(inputs[name] for name in names)] if isinstance(inputs, Mapping) else boundary
    rejoined = back(values if len(values) > 1 else values[0])
    _check(row, _same(whole, rejoined), "two halves that are cut apart give the output of the whole", None)


def _check_weights(row: BackboneRow, backbone: Backbone, inputs: Any, **options: Any) -> None:
    expected = backbone.network(inputs)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("saved.weights.h5", "saved.keras"):
            file = Path(folder) / name
            save = backbone.network.save_weights if name.endswith(".h5") else backbone.network.save
            save(file)
            loaded: Backbone = row.load(weights=Weights.parse(file), **options)
            _check(row, _same(loaded.network(inputs), expected), f"weights come back from {name}", None)
            _check(row, loaded.weights.path == file, "the backbone says where its weights came from", loaded.weights)
        _check_refusal(row, "no weights file", weights=Weights.parse(Path(folder) / "nothing.weights.h5"), **options)


def _check_refusal(row: BackboneRow, words: str, **options: Any) -> None:
    try:
        row.load(**{"weights": Weights.RANDOM, **options})
    except BackboneError as error:
        _check(row, words in str(error), f"its error says {words!r}", str(error))
    else:
        _check(row, holds=False, rule="it refuses what it does not support", received=options)


def _same(one: Any, other: Any) -> bool:
    return bool(np.allclose(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other), rtol=1e-4, atol=1e-5))
