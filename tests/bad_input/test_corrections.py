"""Tables of rows to leave out, and of new labels, that do not fit the data: nothing is trained or left out."""

import json

import pytest


@pytest.fixture
def rejected(refused, tmp_path):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "x": n / 4, "tags": ["red"][n % 2 :]} for n in range(16)]
    source = tmp_path / "t.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"task: text_classification\ndata: {{source: {source}}}\n", encoding="utf-8")

    def call(key, content, needs, *overrides):
        file = tmp_path / "fixed.csv"
        if content is not None:
            file.write_text("\n".join(content) + "\n", encoding="utf-8")
        refused("run", recipe, f"data.{key}={file}", *overrides, needs=[f"data.{key}", file, *needs], most_lines=9)

    return call


MANY = ["example", *(f"row {number}" for number in range(1, 17))]


@pytest.mark.parametrize(
    ("key", "content", "needs", "overrides"),
    [
        pytest.param("exclude", ["name", "row 1"], ["no column 'example'", "Columns: name"], [], id="no column"),
        pytest.param(
            "relabel", ["example", "row 1"], ["no column 'label'", "'example' and 'label'"], [], id="no label"
        ),
        pytest.param(
            "exclude",
            ["example,kind", "row 1,dark", "row 17,dark", "Row 2,dark"],
            ["names 2 rows that", "t.jsonl does not have", "\n  row 17\n  Row 2\n", "Remove these lines"],
            [],
            id="rows that are not there",
        ),
        pytest.param("relabel", ["example,label", "x.png,a"], ["names 1 rows", "\n  x.png\n"], [], id="no such row"),
        pytest.param("relabel", ["example,label", "row 1, "], ["no label for row 1"], [], id="blank"),
        pytest.param(
            "relabel",
            ["example,label", "row 1,a", "row 1,b"],
            ["two labels", "row 1: 'a' and 'b'"],
            [],
            id="two labels",
        ),
        pytest.param(
            "relabel",
            ["example,label,suggested_label", "row 1,a,b"],
            ["two columns of labels", "'suggested_label'", "relabel.csv"],
            [],
            id="a table of findings",
        ),
        pytest.param(
            "relabel",
            ["example,label", "row 1,high"],
            ["no number for each of x of row 1", "'high'"],
            ["data.target=number", "data.label=x"],
            id="not a number",
        ),
    ],
)
def test_tables_of_corrections(rejected, key, content, needs, overrides):
    rejected(key, content, needs, *overrides)


def test_other_messages(refused, tmp_path, rejected):
    rejected("exclude", None, ["does not exist"])
    for content, key, needs in (
        (MANY, "exclude", ["data.exclude leaves out all 16 rows"]),
        (["example,label", "row 1,other"], "relabel", ["No row has 'other'", "Known: a, b", "data.classes"]),
    ):
        (tmp_path / "fixed.csv").write_text("\n".join(content), encoding="utf-8")
        refused("run", tmp_path / "own.yaml", f"data.{key}={tmp_path / 'fixed.csv'}", needs=needs)
    refused("run", tmp_path / "own.yaml", "data.exclude=t.txt", needs=["data.exclude", ".csv or .tsv", "t.txt"])
