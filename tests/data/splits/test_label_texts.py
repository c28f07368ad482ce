"""Label names as texts."""

import pytest

from keras_transfer.data.splits.label_texts import write_label_texts
from keras_transfer.errors import ConfigError


def test_names_are_put_into_a_sentence_word_by_word():
    split = write_label_texts(("real_estate", "sci-fi", "5"), "names")
    said = [text for (text,) in split.examples.segments]
    assert said == ["This sentence is real estate", "This sentence is sci fi", "This sentence is 5"]
    assert split.targets.tolist() == [0, 1, 2]


def test_a_text_that_is_given_is_used_verbatim():
    split = write_label_texts(("a", "b"), {"b": "Letters of the law_suit"})
    assert [text for (text,) in split.examples.segments] == ["This sentence is a", "Letters of the law_suit"]


def test_texts_of_unknown_names_and_blank_texts_are_refused():
    with pytest.raises(
        ConfigError, match=r"label_texts has names that are not in the training data: c, d\. Use a, b\."
    ):
        write_label_texts(("a", "b"), {"a": "the first", "c": "the third", "d": " "})
    with pytest.raises(ConfigError, match=r"label_texts is blank for b\. Describe"):
        write_label_texts(("a", "b"), {"a": "the first", "b": " \n"})
