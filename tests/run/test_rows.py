"""Options on how inputs are read."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_transfer.config.schema import AudioClassificationConfig, TextClassificationConfig
from keras_transfer.data.inputs import AudioInputs, TextInputs
from keras_transfer.errors import ConfigError
from keras_transfer.run.rows import RowReader

SAMPLES = np.linspace(-0.5, 0.5, 800, dtype=np.float32)


class Rows(RowReader):
    """Reads inputs, and has no model."""

    head = model = input_shape = reader = predict_batches = embed_batches = None

    def __init__(self, schema, inputs, **data):
        (name,) = schema.model_fields["task"].annotation.__args__
        self.config = schema(task=name, data={"source": "x", **data})
        self.task = SimpleNamespace(inputs=lambda config: inputs(config.data), refusal=lambda run: None)


def test_a_sample_rate_is_that_of_arrays_without_one():
    rows = Rows(AudioClassificationConfig, AudioInputs, sample_rate=16000)
    # By the recipe, by the call, and by the input itself.
    for given, options, count in (
        (SAMPLES, {}, 800),
        (SAMPLES, {"sample_rate": 8000}, 1600),
        ([(SAMPLES, 4000)], {"sample_rate": 8000}, 3200),
    ):
        assert len(rows.read_inputs(given, **options).examples.decode(0, 16000)) == count


@pytest.mark.parametrize(
    ("rows", "given", "needs"),
    [
        pytest.param((AudioClassificationConfig, AudioInputs), "a.wav", "files have their own", id="a file"),
        pytest.param((TextClassificationConfig, TextInputs), "a text", "this run takes texts", id="a text"),
    ],
)
def test_a_sample_rate_that_does_not_apply_is_refused(rows, given, needs):
    with pytest.raises(ConfigError, match=f"sample_rate is for .*{needs}"):
        Rows(*rows).read_inputs(given, sample_rate=8000)
