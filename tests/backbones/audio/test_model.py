"""A backbone for recordings with a head: a trainer for clips, and a predictor for recordings of any length."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from keras_transfer import BACKBONES, Backbone, BackboneError
from keras_transfer.backbones.audio.spectrogram import on_spectrograms
from keras_transfer.config.schema import AudioHeadConfig
from keras_transfer.explain import open_model
from keras_transfer.export import Served
from keras_transfer.export.quantize import simplify
from keras_transfer.heads import ClassificationHead
from keras_transfer.heads.calibration import add_class_temperature
from keras_transfer.model import build_model, with_features
from keras_transfer.networks.keras_file import read_keras_file, write_keras_file

T = 13_000
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def model():
    backbone = BACKBONES["speech_embedding"].load(samples=T)
    keras.utils.set_random_seed(1)
    built = build_model(backbone, ClassificationHead(CLASSES, AudioHeadConfig()))
    # Weights that make predictions differ.
    built.top.set_weights([0.1 * np.random.default_rng(0).normal(size=w.shape) for w in built.top.get_weights()])
    return built


@pytest.fixture(scope="module")
def recordings():
    """Noise of 1, 2 and 3 windows; behind the shorter ones is padding."""
    rng = np.random.default_rng(3)
    rows = np.stack([rng.normal(0, 0.02 * (row + 1), 3 * T) for row in range(3)]).astype(np.float32)
    rows[0, T:] = rows[1, 2 * T :] = 0
    return rows


def clips_of(row, recordings):
    return recordings[row].reshape(3, T)[: row + 1]


def test_predictions_and_features_are_means_over_windows(model, recordings, tmp_path):
    clips = [clips_of(row, recordings) for row in range(3)]
    logits = [keras.ops.convert_to_numpy(model.trainer(part)) for part in clips]
    expected = [keras.ops.convert_to_numpy(keras.ops.softmax(part)).mean(axis=0) for part in logits]
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(model.predictor(recordings), expected, atol=1e-5)
    frozen = model.frozen_part(len(model.backbone.stages))
    features = [keras.ops.convert_to_numpy(frozen(part)).mean(axis=0) for part in clips]
    for predictor in (model.predictor, _save_and_load(model.predictor, tmp_path)):
        predicted, found = with_features(predictor)(recordings)
        np.testing.assert_allclose(predicted, expected, atol=1e-5)
        np.testing.assert_allclose(found, features, atol=1e-4)


def _save_and_load(predictor, folder):
    write_keras_file(predictor, folder / "model.keras")
    return read_keras_file(folder / "model.keras", BackboneError)


def test_a_finished_model_opens_at_its_stages(model, recordings, tmp_path):
    opened = open_model(_save_and_load(model.predictor, tmp_path))
    assert [stage.name for stage in opened.stages] == [stage.name for stage in model.backbone.stages]
    cut = opened.cut(len(opened.stages) - 1)
    clips = clips_of(2, recordings)
    raw = cut.behind(cut.before(clips), clips)
    np.testing.assert_allclose(raw, model.trainer(clips), atol=1e-4)


def test_another_recipe_starts_from_the_network_of_a_saved_predictor(model, tmp_path):
    write_keras_file(model.predictor, tmp_path / "model.keras")
    # Its recordings may be longer.
    backbone = BACKBONES["speech_embedding"].load(weights=tmp_path / "model.keras", samples=2 * T)
    for one, same in zip(model.backbone.network.get_weights(), backbone.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_trainer_and_predictor_share_every_weight(model):
    assert {id(weight) for weight in model.trainer.weights} == {id(weight) for weight in model.predictor.weights}


def test_a_quantizer_leaves_a_temperature_behind_the_mean_over_windows(model, recordings, tmp_path):
    predictor = keras.Model(model.predictor.input, add_class_temperature(model.predictor.output, 2.0))
    simple = simplify(Served(predictor, model.head, None, tmp_path, None, {})).model
    mean = keras.ops.convert_to_numpy(model.predictor(recordings))
    roots = np.sqrt(mean)
    np.testing.assert_allclose(simple(recordings), roots / roots.sum(axis=1, keepdims=True), atol=1e-5)


def small_on_spectrograms():
    """A small network for images, on spectrograms, with a head."""
    pixels = keras.Input((32, 32, 3))
    features = keras.layers.Conv2D(4, 3, strides=4, name="one_conv")(pixels)
    backbone = on_spectrograms(Backbone.from_keras(keras.Model(pixels, features), input_range=(-1, 1)))
    keras.utils.set_random_seed(1)
    return build_model(backbone.for_samples(T, "repeat"), ClassificationHead(CLASSES, AudioHeadConfig()))


def run_onnx(function):
    import tf2onnx

    proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=17)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda given: session.run(None, {"samples": given})[0]


def run_litert(function):
    from ai_edge_litert.interpreter import Interpreter

    concrete = function.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert()
    interpreter = Interpreter(model_content=content)

    def run(given):
        place = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(place, given.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, given)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


@pytest.mark.parametrize("convert", [pytest.param(run_onnx, id="onnx"), pytest.param(run_litert, id="litert")])
@pytest.mark.parametrize(
    "network", [pytest.param("speech_embedding", marks=pytest.mark.slow), pytest.param("spectrogram")]
)
def test_formats_take_any_number_of_recordings_and_samples(network, convert, model, recordings):
    predictor = (model if network == "speech_embedding" else small_on_spectrograms()).predictor
    specs = [tf.TensorSpec((None, None), tf.float32, name="samples")]
    function = tf.function(lambda samples: predictor(samples, training=False), input_signature=specs)
    run = convert(function)
    for given in (recordings, recordings[:1, :T], recordings[1:, : 2 * T + 77], recordings[:2, :4000]):
        np.testing.assert_allclose(run(given), predictor(given), atol=1e-4)
