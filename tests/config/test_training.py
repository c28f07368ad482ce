import pytest

from keras_transfer.config.training import TextTrainingConfig, TrainingConfig


@pytest.mark.parametrize(
    ("section", "rows", "devices", "expected"),
    [
        pytest.param(TrainingConfig(), 20, 1, 8, id="few-images"),
        pytest.param(TrainingConfig(), 250, 1, 15, id="16-steps-an-epoch"),
        pytest.param(TrainingConfig(), 512, 1, 32, id="enough-images"),
        pytest.param(TrainingConfig(), 10**6, 1, 32, id="many-images"),
        pytest.param(TextTrainingConfig(), 25, 1, 16, id="few-texts"),
        pytest.param(TextTrainingConfig(batch_size="auto"), 160, 1, 10, id="texts-of-auto"),
        pytest.param(TextTrainingConfig(batch_size="auto"), 10**6, 1, 16, id="many-texts-of-auto"),
        pytest.param(TrainingConfig(), 250, 4, 12, id="a-multiple-of-the-devices"),
        pytest.param(TrainingConfig(), 20, 16, 16, id="a-row-per-device"),
        pytest.param(TrainingConfig(batch_size=32), 20, 1, 32, id="given"),
    ],
)
def test_a_batch_size_of_auto_depends_on_the_rows(section, rows, devices, expected):
    assert section.with_batch_size(rows, devices).batch_size == expected
