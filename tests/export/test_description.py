"""What is stored with an exported model: all that a client must know, and nothing of the data or the machine."""

import json

import pytest

from keras_transfer import ExportError
from keras_transfer.config.deciding import without_places
from keras_transfer.export.description import FORMAT_VERSION, MOST_BYTES, Description, read_description_file


@pytest.fixture(scope="module")
def described(finished_run):
    return finished_run.served.describe()


def test_it_describes_what_a_client_sends_and_receives(described):
    values = json.loads(described.to_json())
    assert values["format_version"] == FORMAT_VERSION
    assert (values["task"], values["names"], values["predictions_output"]) == (
        "image_classification",
        ["cat", "dog"],
        "probabilities",
    )
    assert values["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": [None, 64, 64, 3]}]
    assert {one["name"]: (one["dtype"], one["shape"]) for one in values["outputs"]} == {
        "probabilities": ("float32", [None, 2]),
        "score": ("float32", [None]),
    }
    assert values["preprocessing"] == {
        "kind": "image",
        "size": 64,
        "resize": "crop",
        "channels": 3,
        "colour_order": "rgb",
        "value_range": [0.0, 255.0],
        "max_pixels": 100_000_000,
    }
    assert set(values["head"]) >= {"temperature"}
    assert Description.from_json(described.to_json(), "here") == described


def test_it_contains_nothing_of_the_data_or_the_machine(described, finished_run):
    text = described.to_json()
    rows = [row[0] for split in finished_run.record["splits"].values() for row in split["rows"]]
    hashes = [key for split in finished_run.record["splits"].values() for key in split["hashes"]]
    assert len(rows) == 32
    assert [word for word in (*rows, *hashes, str(finished_run.folder.parent)) if word in text] == []
    assert described.recipe["data"]["source"] == "images"
    assert described.record == {"class_names": ["cat", "dog"]}


def test_an_untrusted_description_leads_to_no_file():
    recipe = {
        "task": "image_classification",
        "data": {
            "source": "../../etc/passwd",
            "root": "/etc",
            "exclude": "/etc/passwd",
            "relabel": "/etc/passwd",
            "splits_of": "/home",
            "test": "/etc",
            "separator": "/",
            "path": "file",
        },
        "backbone": {"name": "/home/me/own.keras", "weights": "/home/me/run"},
        "trackers": [{"name": "mlflow", "uri": "https://example.com"}],
    }
    assert without_places(recipe) == {
        "task": "image_classification",
        "data": {"source": "passwd", "separator": "/", "path": "file"},
        "backbone": {"name": "own.keras"},
    }


def change(**values):
    return lambda known: json.dumps({**known, **values})


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda known: "", "is damaged", id="empty"),
        pytest.param(lambda known: "[" * 200_000, "is damaged", id="deep"),
        pytest.param(lambda known: "[]", "is damaged", id="list"),
        pytest.param(lambda known: " " * (MOST_BYTES + 1), "at most 32,000,000 are read", id="huge"),
        pytest.param(lambda known: '{"a": NaN}', "NaN is not JSON", id="nan"),
        pytest.param(change(format_version=2), "a later version of keras_transfer", id="later version"),
        pytest.param(change(format_version="1"), "format_version: input should be a valid integer", id="version"),
        pytest.param(change(names=["a", "a"]), "names: value error, two names are the same", id="twins"),
        pytest.param(change(names=[]), "names: .* at least 1 item", id="no names"),
        pytest.param(change(inputs=[{"name": "x", "dtype": "f", "shape": [-1]}]), r"inputs\.0\.shape\.0", id="size"),
        pytest.param(
            change(inputs=[{"name": "x", "dtype": "f", "shape": [None, 10**9, 10**9]}]), "more values", id="bomb"
        ),
        pytest.param(change(recipe=[]), "recipe: input should be a valid dictionary", id="recipe"),
    ],
)
def test_a_damaged_one_is_refused(described, make, match):
    with pytest.raises(ExportError, match=match) as raised:
        Description.from_json(make(json.loads(described.to_json())), "x/model.onnx")
    assert "x/model.onnx" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_saved_model_contains_it(finished_run, described):
    folder = finished_run.folder / "export" / "saved_model" / "1"
    assert read_description_file(folder / "assets.extra" / "keras_transfer.json", str(folder)) == described
    with pytest.raises(ExportError, match="has no description by keras_transfer"):
        read_description_file(folder / "keras_transfer.json", str(folder))
