"""training.precision: auto takes what trains faster, and never float16."""

from types import SimpleNamespace

import keras
import keras_hub
import pytest

from keras_transfer import ImageClassification
from keras_transfer.backbones import BACKBONES
from keras_transfer.backbones.texts.network import TextNetwork
from keras_transfer.training.precision import PrecisionTest, run_precision_test


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [(30.0, 60.0, "mixed_bfloat16"), (60.0, 30.0, "float32"), (30.0, 30.5, "float32")],
    ids=["faster", "slower", "within the noise"],
)
def test_bfloat16_is_chosen_if_it_is_faster_by_more_than_noise(float32, bfloat16, expected):
    found = PrecisionTest({"float32": float32, "mixed_bfloat16": bfloat16})
    assert found.precision == expected
    assert str(found).startswith(f"Precision: {expected} (examples per second in training: float32 {float32:.0f}, ")


@pytest.mark.usefixtures("tiny")
def test_a_measurement_tries_both_and_leaves_keras_as_it_was():
    before = keras.config.dtype_policy()
    found = run_precision_test(lambda: BACKBONES["tiny"].load(image_size=32, weights="none"), batch_size=4)
    assert set(found.rates) == {"float32", "mixed_bfloat16"}
    assert all(rate > 0 for rate in found.rates.values())
    assert keras.config.dtype_policy() == before


def test_a_network_with_outputs_of_any_length_is_measured_too():
    def load():
        body = keras_hub.models.BertBackbone(
            vocabulary_size=20, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=128
        )
        return SimpleNamespace(network=TextNetwork(backbone=body, pooling="masked", is_decoder=False))

    assert all(rate > 0 for rate in run_precision_test(load, batch_size=2).rates.values())


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("fastest", ["float32", "mixed_bfloat16"])
def test_a_run_resolves_auto_and_records_the_result(images, tmp_path, monkeypatch, fastest):
    rates = {"float32": 1.0, "mixed_bfloat16": 1.0, fastest: 2.0}
    monkeypatch.setattr("keras_transfer.recipe.prepare.run_precision_test", lambda *_, **__: PrecisionTest(rates))
    recipe = ImageClassification(
        {"source": str(images), "image_size": 32},
        backbone="tiny",
        policy="full",
        training={"epochs": 1, "batch_size": 8, "precision": "auto"},
        export={"formats": []},
    )
    run = recipe.fit(tmp_path / "run")
    assert run.config.training.precision == fastest
    (network,) = (layer for layer in run.model.layers if isinstance(layer, keras.Model) and len(layer.layers) > 5)
    assert {layer.dtype_policy.name for layer in network.layers if layer.weights} == {fastest}
    assert recipe.config.training.precision == "auto"
    assert run.evaluate().loss == pytest.approx(run.reports["test"].loss, rel=0.02)
