"""Valid settings of recipes for recordings."""

import pytest

from keras_transfer.config.contradictions import find_contradictions
from keras_transfer.config.data import SpeechDataConfig
from keras_transfer.config.schema import AudioClassificationConfig, RecipeConfig
from keras_transfer.config.section import Section
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


class SpeechConfig(RecipeConfig):
    """A recipe whose targets are transcripts."""

    data: SpeechDataConfig
    head: Section = Section()


@pytest.mark.parametrize(
    ("data", "path"),
    [
        pytest.param({}, None, id="no further keys"),
        pytest.param({"relabel": "fixed.csv"}, None, id="a table of corrections"),
        pytest.param({"classes": ["a", "b"]}, "data.classes", id="classes"),
        pytest.param({"relabel": {"a": "b"}}, "data.relabel", id="names of classes"),
        pytest.param({"merge_labels": True}, "data.merge_labels", id="spellings of classes"),
        pytest.param({"per_class": 8}, "data.per_class", id="rows per class"),
        pytest.param({"separator": ";"}, "data.separator", id="labels"),
        pytest.param({"padding": "repeat"}, "data.padding", id="words that are heard twice"),
        pytest.param({"image_size": 64}, "data.image_size", id="images"),
        pytest.param({"seconds": 40.0, "max_seconds": 30.0}, "data.max_seconds", id="window over the limit"),
        pytest.param({"start": "text"}, "data.start", id="the transcripts"),
        pytest.param({"label": "path"}, "data.label", id="paths as transcripts"),
        pytest.param({"label": "who", "group": "who"}, "data.label", id="speakers as transcripts"),
    ],
)
def test_keys_that_do_not_apply_to_transcripts_are_refused(data, path):
    recipe = SpeechConfig(task="speech", data={"source": "clips.csv", **data})
    assert [message.split(":")[0] for message in find_contradictions(recipe)] == ([] if path is None else [path])


@pytest.mark.parametrize("data", [{"target": "class"}, {"label": ["a", "b"]}, {"normalization": "upper"}])
def test_values_that_transcripts_do_not_support_are_refused(data):
    with pytest.raises(ValueError, match=next(iter(data))):
        SpeechDataConfig(source="clips.csv", **data)
