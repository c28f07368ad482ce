"""Tokens are found in the text again, whatever the tokenizer made of it."""

import pytest

from keras_transfer.explain.pieces import divide_text, find_spans

CASES = [
    pytest.param("The café, Zürich!", [b"the", b"cafe", b",", b"zur", b"ich", b"!"], "The|café|,|Zür|ich|!", id="bert"),
    pytest.param("a 😀 b", [b"a", b" \xf0\x9f", b"\x98\x80", b" b"], "a|😀|b", id="bytes-of-one-character"),
    pytest.param("zzza a cat", [None, b"a", b"cat"], "zzza|a|cat", id="unknown-word"),
    pytest.param("zzza, cat", [None, b",", b"cat"], "zzza|,|cat", id="unknown-word-before-a-comma"),
    pytest.param("x ☃ y", [b"x", b"", b"y"], "x|☃|y", id="unknown-character"),
    pytest.param("Ünï ① ﬁsh", [b"uni", b"1", b"fish"], "Ünï|①|ﬁsh", id="compatibility-forms"),
    pytest.param("東京 tower", ["東".encode(), "京".encode(), b"tower"], "東|京|tower", id="no-spaces"),
    pytest.param("مرحبا بك", ["مرحبا".encode(), "بك".encode()], "مرحبا|بك", id="arabic"),
    pytest.param("cut\x00here and more", [b"cut", b"here"], "cut|here", id="dropped-character-and-cut-text"),
    pytest.param("It's İstanbul", [b"it", b"'", b"s", b"istanbul"], "It|'|s|İstanbul", id="folds-to-two-characters"),
    pytest.param("a a a", [b"a", b"a", b"a"], "a|a|a", id="repeated"),
]


@pytest.mark.parametrize(("text", "surfaces", "expected"), CASES)
def test_tokens_are_found_in_the_text(text, surfaces, expected):
    attributions = [2.0**number for number in range(len(surfaces))]
    pieces = divide_text(text, surfaces, attributions)
    assert "".join(piece.text for piece in pieces) == text
    assert "|".join(piece.text for piece in pieces if piece.attribution) == expected
    assert sum(piece.attribution for piece in pieces) == sum(attributions)


def test_a_token_that_is_not_in_the_text_does_not_shift_the_others():
    spans = find_spans("one two three", [b"one", b"missing", b"two", b"three"])
    assert [spans[place] for place in (0, 2, 3)] == [(0, 3), (4, 7), (8, 13)]
    assert spans[1][0] == spans[1][1]
    assert divide_text("", [b""], [1.0]) == ()
