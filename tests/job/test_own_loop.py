"""A custom training loop on what ``recipe.prepare()`` returns."""

import numpy as np
import pytest

from keras_transfer import ImageClassification


@pytest.fixture
def recipe(images, pebble):
    def make(policy, **sections):
        training = {"epochs": 2, "batch_size": 8, "keep": "last"}
        data = {"source": str(images), "validation": 0.0, "test": 0.25}
        return ImageClassification(data, backbone="pebble", policy=policy, training=training, **sections)

    return make


@pytest.mark.slow
def test_a_custom_loop_reaches_the_weights_of_fit(recipe, tmp_path):
    made = recipe("full", export={"formats": []})
    job = made.prepare()
    (phase,) = job.phases
    model = job.apply(phase)
    steps = job.steps_per_epoch
    assert steps == 3  # 24 rows in batches of 8
    model.fit(
        job.training_batches(range(phase.epochs)),
        epochs=phase.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
    )
    theirs = made.fit(tmp_path / "run").model.get_weights()
    ours = job.model.predictor.get_weights()
    assert len(ours) == len(theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_apply_solves_a_head_and_sets_what_trains(recipe):
    job = recipe("lp_ft").prepare()
    solve, fine_tune = job.phases
    assert (solve.solve, fine_tune.solve) == (True, False)
    before = job.model.top.get_weights()
    model = job.apply(solve)
    assert not np.array_equal(job.model.top.get_weights()[0], before[0])
    predicted = [job.model.predictor.predict_on_batch(batch) for batch, _ in job.test_batches]
    assert np.concatenate(predicted) == pytest.approx(job.baseline.predicted["test"], abs=1e-5)
    frozen = job.model.backbone.network.trainable_weights
    assert frozen == []
    model = job.apply(fine_tune)
    assert len(job.model.backbone.network.trainable_weights) > 0
    assert model.optimizer.iterations.numpy() == 0


def test_without_validation_rows_there_are_no_validation_batches(recipe):
    job = recipe("head").prepare()
    assert job.validation_batches is None
    inputs, targets = next(iter(job.test_batches))
    assert tuple(inputs.shape) == (8, 16, 16, 3)
    assert np.array_equal(np.asarray(targets).sum(axis=1), np.ones(8))
