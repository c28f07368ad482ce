"""Networks without validation rows are calibrated on training rows, by networks that were trained without them."""

from dataclasses import replace

import numpy as np
import pytest

from keras_transfer import ImageClassification
from keras_transfer.job import job as job_module
from keras_transfer.job.judging import predict_held_out

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def recipe(images):
    def make(policy, **sections):
        return ImageClassification(
            {"source": str(images), "image_size": 32, "validation": 0.0},
            backbone="tiny",
            policy=policy,
            training={"epochs": 1, "batch_size": 8},
            export={"formats": []},
            report=False,
            **sections,
        )

    return make


@pytest.mark.slow
def test_a_held_out_prediction_does_not_depend_on_the_labels_of_its_fold(recipe):
    job = recipe("full").prepare()
    train, weights = job.splits.train, job.model.trainer.get_weights()
    even, odd = np.arange(0, len(train), 2), np.arange(1, len(train), 2)
    wrong = train.targets.copy()
    wrong[odd] = 1 - wrong[odd]

    def predict(targets):
        splits = replace(job.splits, train=replace(train, targets=targets))
        batches = replace(job, splits=splits).batches
        return predict_held_out(batches, job.phases[0], range(1), [(even, odd), (odd, even)], None)

    right, other = predict(train.targets), predict(wrong)
    assert right.shape == (len(train), 2)
    np.testing.assert_allclose(other[odd], right[odd], atol=1e-6)
    assert np.abs(other[even] - right[even]).max() > 1e-3
    assert all(np.array_equal(*pair) for pair in zip(weights, job.model.trainer.get_weights(), strict=True))


@pytest.mark.slow
def test_many_rows_do_not_calibrate_it(recipe, monkeypatch):
    monkeypatch.setattr(job_module, "MOST_ROWS", 8)
    job = recipe("lp_ft").prepare()
    assert job.train().held_out is None
