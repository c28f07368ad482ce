"""What classes are called, as texts."""

from keras_transfer.data.splits.label_texts import write_label_texts


def test_names_are_put_into_a_sentence_word_by_word():
    split = write_label_texts(("real_estate", "sci-fi", "5"), "names")
    said = [text for (text,) in split.examples.segments]
    assert said == ["This sentence is real estate", "This sentence is sci fi", "This sentence is 5"]
    assert split.targets.tolist() == [0, 1, 2]


def test_a_text_that_is_given_is_taken_as_it_is():
    split = write_label_texts(("a", "b"), {"b": "Letters of the law_suit"})
    assert [text for (text,) in split.examples.segments] == ["This sentence is a", "Letters of the law_suit"]
