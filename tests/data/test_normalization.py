"""One rule for transcripts, in training and in scoring."""

import unicodedata

import pytest

from keras_transfer.data.targets.transcripts import normalize
from keras_transfer.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "whitespace", "lower", "words"),
    [
        pytest.param(" A\tb \u00a0c\n", "A b c", "a b c", "a b c", id="white space"),
        pytest.param("e\u0301te\u0301", "été", "été", "été", id="NFC"),
        pytest.param(
            "Don\u2019t! 'Tis dogs\u2019 day.",
            *["Don\u2019t! 'Tis dogs\u2019 day."],
            "don\u2019t! 'tis dogs\u2019 day.",
            "don't tis dogs day",
            id="apostrophes",
        ),
        pytest.param(
            "well-known - \u201cso\u201d -x-",
            "well-known - \u201cso\u201d -x-",
            "well-known - \u201cso\u201d -x-",
            "well-known so x",
            id="hyphens",
        ),
        pytest.param(
            "5 % \u266a a_b, c\u2026", "5 % \u266a a_b, c\u2026", "5 % \u266a a_b, c\u2026", "5 a b c", id="symbols"
        ),
        pytest.param("STRASSE Straße", "STRASSE Straße", "strasse straße", "strasse straße", id="sharp s stays"),
        pytest.param("हिन्दी में।", "हिन्दी में।", "हिन्दी में।", "हिन्दी में", id="vowel signs stay"),
        pytest.param("zu\u00adsammen", "zu\u00adsammen", "zu\u00adsammen", "zusammen", id="soft hyphen"),
        pytest.param("... ?!", "... ?!", "... ?!", "", id="no word"),
    ],
)
def test_each_rule_adds_to_the_one_before(text, whitespace, lower, words):
    assert normalize(text, "whitespace") == whitespace
    assert normalize(text, "lower") == lower
    assert normalize(text, "words") == words


# A rule is applied to transcripts when they are read and to both sides when they are scored.
@pytest.mark.parametrize("rule", ["whitespace", "lower", "words"])
def test_a_rule_that_is_applied_twice_changes_nothing_more(rule):
    marks = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    for start in range(0, len(marks), 7):
        text = "a".join(marks[start : start + 7]) + "".join(marks[start : start + 7])
        once = normalize(text, rule)
        assert normalize(once, rule) == once


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match=r"no rule 'upper'\. Use whitespace, lower, words"):
        normalize("a", "upper")
