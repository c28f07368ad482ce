"""The SavedModel: signatures, and outputs that a server without this package returns."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer import Run


@pytest.fixture(scope="module")
def exported(finished_run):
    """The folder of the model that the run exported at its end."""
    return finished_run.folder / "export" / "saved_model" / "1"


def test_signatures_match_the_contract(exported):
    served = tf.saved_model.load(str(exported))
    signature = served.signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    assert {name: (spec.dtype, spec.shape.as_list()) for name, spec in inputs.items()} == {
        "image_bytes": (tf.string, [None])
    }
    outputs = {name: (spec.dtype, spec.shape.as_list()) for name, spec in signature.structured_outputs.items()}
    assert outputs == {
        "probabilities": (tf.float32, [None, 2]),
        "label": (tf.string, [None]),
        "score": (tf.float32, [None]),
        "names": (tf.string, [None, 2]),
        "ok": (tf.bool, [None]),
    }
    assert served.signatures["classes"]()["names"].numpy().tolist() == [b"cat", b"dog"]
    pixels = served.signatures["serve_tensor"].structured_input_signature[1]["pixels"]
    assert (pixels.dtype, pixels.shape.as_list()) == (tf.float32, [None, 64, 64, 3])


def test_a_server_without_keras_transfer_or_keras_returns_the_labels_of_predict(
    exported, finished_run, images, tmp_path
):
    files = [str(file) for file in sorted(images.glob("*/*"))[::5]]
    for mode, name in (("L", "grey.png"), ("L", "grey.jpg"), ("LA", "grey_alpha.png"), ("RGBA", "alpha.png")):
        with Image.open(files[0]) as image:
            image.convert(mode).resize((90, 50)).save(tmp_path / name)
        files.append(str(tmp_path / name))
    code = (
        "import json, sys, tensorflow as tf\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "out = serve(image_bytes=tf.constant([open(f, 'rb').read() for f in sys.argv[2:]]))\n"
        "labels = [label.decode() for label in out['label'].numpy().tolist()]\n"
        "print(json.dumps({'label': labels, 'p': out['probabilities'].numpy().tolist()}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(exported), *files], capture_output=True, text=True, check=True
    )
    answer = json.loads(result.stdout.splitlines()[-1])
    predictions = finished_run.predict(files)
    assert answer["label"] == [prediction.label for prediction in predictions]
    ours = [list(prediction.probabilities.values()) for prediction in predictions]
    np.testing.assert_allclose(answer["p"], ours, atol=1e-5)


def test_serve_tensor_accepts_decoded_pixels(exported, finished_run, images):
    from keras_transfer.data.formats.images import decode_image

    file = next(images.glob("cat/*"))
    pixels = decode_image(tf.io.read_file(str(file)), size=64, resize="crop", channels=3)
    answer = tf.saved_model.load(str(exported)).signatures["serve_tensor"](pixels=pixels[None])
    expected = list(finished_run.predict([file])[0].probabilities.values())
    np.testing.assert_allclose(answer["probabilities"].numpy()[0], expected, atol=1e-5)


@pytest.mark.slow
def test_versions_count_up(finished_run, tmp_path):
    run = Run(shutil.copytree(finished_run.folder, tmp_path / "run"))
    assert [folder.name for folder in (run.folder / "export" / "saved_model").iterdir()] == ["1"]
    assert run.export()[0].name == "2"
