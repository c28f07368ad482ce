"""What recipes for recordings may say."""

import pytest

from keras_transfer.config import AudioClassificationConfig
from keras_transfer.config.contradictions import find_contradictions
from keras_transfer.config.unused import find_unused


def recipe(**sections):
    data = {"source": "clips", **sections.pop("data", {})}
    return AudioClassificationConfig(task="audio_classification", data=data, **sections)


def test_a_recipe_without_further_keys_has_no_contradictions():
    assert list(find_contradictions(recipe())) == []
    assert recipe().data.example_kind == "audio"


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        pytest.param({"data": {"seconds": 5.0, "max_seconds": 4.0}}, "data.max_seconds", id="window over the limit"),
        pytest.param({"data": {"start": "at", "end": "at"}}, "data.end", id="one column twice"),
        pytest.param({"data": {"start": "label"}}, "data.start", id="a label"),
        pytest.param({"data": {"end": "path"}}, "data.end", id="the paths"),
        pytest.param(
            {"training": {"batch_size": 1}, "augmentation": {"mixup": 0.2}}, "training.batch_size", id="mixup of one"
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named(sections, path):
    assert [message.split(":")[0] for message in find_contradictions(recipe(**sections))] == [path]


# Noise at 0 dB is as loud as the recording: a change that is on, although its number is 0.
def test_noise_at_0_db_is_an_augmentation():
    quiet = {"crop": False}
    assert ("cache.views" in dict(find_unused(recipe(augmentation=quiet, cache={"views": 3})))) is True
    assert (
        "cache.views" in dict(find_unused(recipe(augmentation={**quiet, "noise": 0.0}, cache={"views": 3})))
    ) is False


def test_a_table_of_bytes_uses_no_paths():
    unused = dict(find_unused(recipe(data={"bytes": "audio", "path": "file"})))
    assert "recordings" in unused["data.path"]
