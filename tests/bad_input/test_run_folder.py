"""Run folders that are none, unfinished, damaged or not to be trusted, and places that cannot be written to."""

import io
import json
import shutil
import zipfile

import keras
import pytest

COMMANDS = [["predict", "{run}", "{image}"], ["evaluate", "{run}"], ["export", "{run}", "--out", "new"]]


@pytest.fixture
def image(images):
    return images / "cat" / "000.png"


@pytest.fixture
def folder(finished_run, tmp_path):
    """A copy of a finished run, to be spoilt."""
    return shutil.copytree(finished_run.folder, tmp_path / "spoilt", ignore=shutil.ignore_patterns("export"))


@pytest.fixture
def fill(image):
    return lambda words, run: [word.format(run=run, image=image) for word in words]


def save(folder, *layers, classes=2):
    """Put another model in the place of the run's."""
    pixels = keras.Input((64, 64, 3))
    x = pixels
    for layer in layers:
        x = layer(x)
    x = keras.layers.Dense(classes, "softmax")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(pixels, x).save(folder / "model.keras")


class Own(keras.layers.Layer):
    """A class that is not defined on other machines."""

    def call(self, x):
        return x


def change_config(folder, change):
    """Rewrite the configuration inside model.keras."""
    file = folder / "model.keras"
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    change(config["config"]["layers"])
    contents["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("absent", ["There is no run folder", "keras-transfer run"]),
        ("file", ["There is no run folder"]),
        ("empty", ["not a finished run", "recipe.yaml", "model.keras"]),
        ("images", ["not a finished run", "recipe.yaml"]),
    ],
)
def test_a_path_that_is_not_a_run_folder(refused, fill, images, tmp_path, words, kind, needs):
    run = {"absent": tmp_path / "absent", "file": tmp_path / "file", "empty": tmp_path / "empty", "images": images}
    run["file"].write_text("x")
    run["empty"].mkdir()
    refused(*fill(words, run[kind]), needs=[run[kind], *needs])


@pytest.mark.parametrize("words", COMMANDS)
def test_an_unfinished_run(refused, fill, folder, words):
    (folder / "model.keras").unlink()
    refused(*fill(words, folder), needs=[folder, "not a finished run", "it lacks model.keras"])


@pytest.mark.parametrize(
    ("name", "content", "needs"),
    [
        ("recipe.yaml", "", ["recipe.yaml", "is not a recipe"]),
        ("recipe.yaml", "task: [", ["recipe.yaml", "Fix the YAML there"]),
        ("recipe.yaml", "task: image_classification\n", ["recipe.yaml", "data: missing"]),
        ("data.json", "", ["data.json is damaged", "Run the recipe again"]),
        ("data.json", "{", ["data.json is damaged"]),
        ("data.json", "[]", ["data.json is damaged", "expected a JSON object"]),
        ("data.json", "{}", ["data.json is damaged", "it lacks splits"]),
        ("data.json", '{"splits": 3}', ["data.json is damaged", "splits: input should be a valid dictionary"]),
        ("data.json", '{"splits": {"test": {"rows": [[1, 2]]}}}', ["data.json is damaged", "splits.test"]),
        ("data.json", '{"splits": {}}', ["data.json is damaged", "content has changed since the run ended"]),
        ("data.json", "[" * 200_000, ["data.json is damaged"]),
        ("head.json", '{"thresholds": {}}', ["head.json is damaged", "content has changed since the run ended"]),
        ("sums.json", "{}", ["sums.json is damaged", "not a file of sums"]),
    ],
)
def test_a_damaged_record(refused, fill, folder, name, content, needs):
    (folder / name).write_text(content)
    refused(*fill(COMMANDS[0], folder), needs=[folder, *needs])


@pytest.mark.parametrize(
    "content", [None, "", "{", '{"test": {"n": 1}}', '{"test": 3}', '{"test": [', "{}", "[" * 200_000]
)
def test_damaged_metrics_without_the_data(refused, folder, content):
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace("source: ", "source: /nowhere"))
    if content is None:
        (folder / "metrics.json").unlink()
    else:
        (folder / "metrics.json").write_text(content)
    refused("evaluate", folder, needs=["metrics.json is damaged", "Run the recipe again"])


def overwrite_weights(content):
    """The last kilobytes of the file of weights in the archive are numbers."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        place = content.index(b"\x89HDF") + archive.getinfo("model.weights.h5").file_size - 2000
    return content[:place] + bytes(400) + content[place + 400 :]


@pytest.mark.parametrize(
    ("damage", "needs"),
    [
        (lambda content: b"", "File is not a zip file"),
        (lambda content: b"no model", "File is not a zip file"),
        (lambda content: content[: len(content) // 2], "File is not a zip file"),
        # In the middle of the weights, which Keras itself would read without a word.
        (overwrite_weights, "the checksum of model.weights.h5 in it is wrong"),
    ],
    ids=["empty", "text", "truncated", "overwritten"],
)
def test_a_damaged_model(refused, fill, folder, damage, needs):
    file = folder / "model.keras"
    file.write_bytes(damage(file.read_bytes()))
    refused(*fill(COMMANDS[0], folder), needs=[file, needs])


@pytest.mark.parametrize("missing", ["config.json", "model.weights.h5"])
def test_a_model_that_lacks_a_part(refused, fill, folder, missing):
    file = folder / "model.keras"
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist() if name != missing}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    refused(*fill(COMMANDS[0], folder), needs=[file, missing.removesuffix(".h5")])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_lambda_layer_is_refused(refused, fill, folder, words):
    save(folder, keras.layers.Lambda(lambda x: x * 2))
    refused(*fill(words, folder), needs=[folder / "model.keras", "Lambda", "could run arbitrary code"])


def test_a_lambda_layer_inside_another_is_refused(refused, fill, folder):
    pixels = keras.Input((64, 64, 3))
    save(folder, keras.Model(pixels, keras.layers.Lambda(lambda x: x * 2)(pixels)))
    refused(*fill(COMMANDS[0], folder), needs=["could run arbitrary code"])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_class_that_is_not_from_keras_is_refused(refused, fill, folder, words):
    save(folder, Own())
    refused(*fill(words, folder), needs=[folder / "model.keras", "could run arbitrary code"])


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("subprocess", "run"), ("builtins", "exec")])
def test_a_model_that_names_a_python_function_runs_nothing(refused, fill, folder, tmp_path, module, name):
    save(folder, keras.layers.ReLU())
    proof = tmp_path / "ran"

    def change(layers):
        (layer,) = (layer for layer in layers if layer["class_name"] == "ReLU")
        layer |= {"module": module, "class_name": name, "registered_name": None}
        layer["config"] = {"command": f"touch {proof}", "args": ["touch", str(proof)], "name": "x"}

    change_config(folder, change)
    refused(*fill(COMMANDS[0], folder), needs=["could run arbitrary code"])
    assert not proof.exists()


def test_the_model_of_another_run_is_refused(refused, fill, folder):
    save(folder, classes=3)
    refused(*fill(COMMANDS[0], folder), needs=["the run has 2 classes, and the model has outputs of shape (None, 3)"])


def test_another_model_with_the_same_number_of_outputs_is_refused(refused, fill, folder):
    save(folder)
    refused(*fill(COMMANDS[0], folder), needs=[folder / "model.keras", "content has changed since the run ended"])


def test_a_recipe_that_would_predict_differently_is_refused(refused, fill, folder):
    file = folder / "recipe.yaml"
    file.write_text(file.read_text().replace("resize: crop", "resize: stretch"))
    refused(*fill(COMMANDS[0], folder), needs=[file, "data, backbone, head or augmentation has changed since the run"])


def test_a_recipe_may_name_another_path_of_the_data(command, fill, folder):
    file = folder / "recipe.yaml"
    changed = file.read_text().replace("source: ", "source: /moved").replace("epochs: 1", "epochs: 7")
    file.write_text(changed)
    assert command(*fill(COMMANDS[0], folder)).exit_code == 0


def test_a_tokenizer_that_the_run_did_not_write_is_refused(refused, fill, folder):
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocabulary.txt").write_text("[PAD]")
    refused(*fill(COMMANDS[0], folder), needs=["vocabulary.txt", "was added after the run ended"])


def test_a_changed_raw_example_is_refused(refused, folder, image):
    sample = sorted((folder / "samples").iterdir())[0]
    sample.write_bytes(image.read_bytes() + b" ")
    refused("export", folder, needs=[sample, "content has changed since the run ended"])


def test_a_deeply_nested_model(refused, fill, folder):
    file = folder / "model.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "[" * 200_000)
    refused(*fill(COMMANDS[0], folder), needs=[file])


def test_an_export_without_its_verification_images(refused, folder):
    shutil.rmtree(folder / "samples")
    refused("export", folder, needs=[folder / "samples", "damaged"])
    assert not (folder / "export").exists()


def test_inputs_that_are_not_images_are_all_named(refused, finished_run, image, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    inputs = [image, tmp_path / "text.png", tmp_path / "absent.png", tmp_path / "empty.jpg"]
    message = refused(
        "predict", finished_run.folder, *inputs, needs=["No prediction was made: 3 of 4 inputs", "--skip-broken"]
    )
    assert message.splitlines()[1:-1] == [
        f"  {tmp_path / 'text.png'}: not an image",
        f"  {tmp_path / 'absent.png'}: No such file or directory",
        f"  {tmp_path / 'empty.jpg'}: zero bytes",
    ]


def test_an_empty_folder_as_input(refused, finished_run, tmp_path):
    (tmp_path / "nothing").mkdir()
    refused("predict", finished_run.folder, tmp_path / "nothing", needs=["No prediction was made"])


def test_missing_images_to_evaluate(refused, finished_run):
    refused("evaluate", finished_run.folder, "--data", "absent", needs=["'absent'", "not found"])


def test_rows_that_have_changed_since_the_run(refused, folder, finished_run, tmp_path):
    images = shutil.copytree(finished_run.config.data.source, tmp_path / "moved")
    recipe = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(recipe.replace(finished_run.config.data.source, str(images)))
    (folder / "metrics.json").write_text("{}")
    (folder / "sums.json").unlink()
    for file in images.glob("*/*"):
        file.write_bytes(file.read_bytes() + b" ")
    refused("evaluate", folder, needs=["test rows", "have changed since the run", "--data"])


@pytest.fixture
def recipe(images, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(f"task: image_classification\ndata: {{source: '{images}'}}\n", encoding="utf-8")
    return file


@pytest.fixture
def occupied(tmp_path):
    """An output folder that is not empty, one that is a file, one below a file, one that the system will not make."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not touch")
    (tmp_path / "file").write_text("do not touch")
    return {
        "full": tmp_path / "full",
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "unwritable": "/proc/keras-transfer-run",
    }


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("full", ["is not empty", "Choose another --out"]),
        ("file", ["is a file", "Choose another --out"]),
        ("below a file", ["cannot be made", "Choose another --out"]),
        ("unwritable", ["cannot be made", "/proc", "Choose another --out"]),
    ],
)
def test_an_occupied_run_folder(refused, recipe, occupied, kind, needs):
    refused("run", recipe, "--out", occupied[kind], needs=[occupied[kind], *needs])
    assert [file.name for file in occupied["full"].iterdir()] == ["thesis.txt"]
    assert occupied["file"].read_text() == "do not touch"


def test_the_folder_is_refused_before_the_data_is_read(refused, tmp_path, occupied):
    recipe = tmp_path / "own.yaml"
    recipe.write_text("task: image_classification\ndata: {source: absent}\n", encoding="utf-8")
    refused("run", recipe, "--out", occupied["full"], needs=["is not empty"])


def test_the_default_folder_is_under_runs(refused, recipe, tmp_path):
    (tmp_path / "work" / "runs").write_text("in the way")
    refused("run", recipe, needs=["runs/image_classification-", "cannot be made"])


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("full", ["exists"]),
        ("file", ["exists"]),
        ("below a file", ["cannot be made"]),
        ("unwritable", ["cannot be made"]),
    ],
)
def test_an_export_that_cannot_be_written(refused, finished_run, occupied, kind, needs):
    refused(
        "export", finished_run.folder, "--out", occupied[kind], needs=[occupied[kind], "Choose another --out", *needs]
    )
    assert [file.name for file in occupied["full"].iterdir()] == ["thesis.txt"]
