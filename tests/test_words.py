"""Docs, messages, docstrings and names of tests use the terms of Keras, scikit-learn and Hugging Face."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What does not read as English of the field, and what to write in its place.
TERMS = {
    r"pictures?": "image",
    r"(is|are|was) due here": "expected",
    r"(told|tells) (by|as)|(warning|line|message|error) tells|nothing tells": "predicted, says, shows",
    r"stands (in|between|against|twice|out of)": "is in, appears in; problem, error",
    r"stands? for it|knows? no|minds|bears": "does not support, is robust to, handles",
    r"(?<!there )(is|are) no (numbers?|images?|recordings?|texts?|files?|folders?)": "is not a ..., is NaN or infinite",
    r"became no number|nobody says": "became NaN or infinite; was not given",
    r"\d+ ((?!for|or|to|of|in)\w+ )?(a class|a label|an epoch|an output|a draw|a step)": "per class, per epoch",
    r"puts? out|put right|mend(s|ed)?": "output; fix",
    r"(comes|came|come) of (it|this|that|them|a)": "results from, results in",
    r"begun|(goes|go|went) on (with|from|if|to|without)|that go on": "started, continues",
    r"kept features": "cached features",
    r"seconds that were seen": "measured time",
    r"as sure as (they|it)": "calibrated",
    r"to within \d": "within",
    r"(of|for|on|with|take|takes|least|most|to) (so many|so long)": "that many, up to N, N seconds",
}
# And in names of tests, which are short statements of what is asserted.
IN_NAMES = {
    r"told|tells?|says?|said": "reports, names, prints, predicts",
    r"stands?|stood": "is in, appears in; replaces",
    r"(is|are) due|knows?|wants?|nobody": "expected, supports, requires",
    r"(?<!there )(is|are) (no|none)": "is not a ..., is invalid",
}
PROSE = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.yaml")]
    + [file for kind in ("py", "html", "js") for file in (ROOT / "keras_transfer").rglob(f"*.{kind}")]
    + list((ROOT / "examples").rglob("*.py"))
    + list((ROOT / "notebooks").glob("*.ipynb"))
)
NAMES = [
    (file.relative_to(ROOT), name)
    for file in sorted((ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.M)
]


@pytest.mark.parametrize(("term", "better"), TERMS.items(), ids=TERMS)
def test_terms_are_those_of_the_field(term, better):
    pattern = re.compile(rf"\b({term})\b", re.I)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {match[0]!r}. Write: {better}"
        for file in PROSE
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert found == []


@pytest.mark.parametrize(("term", "better"), {**TERMS, **IN_NAMES}.items(), ids=[*TERMS, *IN_NAMES])
def test_names_of_tests_use_the_terms_of_the_field(term, better):
    pattern = re.compile(rf"\b({term})\b", re.I)
    found = [
        f"{file}: {name}: {match[0]!r}. Write: {better}"
        for file, name in NAMES
        if (match := pattern.search(name.replace("_", " ")))
    ]
    assert NAMES != []
    assert found == []
