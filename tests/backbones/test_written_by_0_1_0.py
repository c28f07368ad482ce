"""Networks that version 0.1.0 saved, before its modules moved, load and give the outputs that it recorded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "written_by_0_1_0"
NAMES = ("image_network", "masked_language_model", "text_network")

# What a fresh process that reads a run folder imports, and no more: it must register the classes by itself.
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
import keras_transfer.run.run
from keras_transfer.errors import CheckpointError
from keras_transfer.networks.keras_file import read_keras_file

found = {}
for file in map(Path, sys.argv[1:]):
    inputs = json.loads(file.with_suffix(".json").read_text())["inputs"]
    is_text = isinstance(inputs, dict)
    inputs = {k: np.array(v, "int32") for k, v in inputs.items()} if is_text else np.array(inputs, "float32")
    found[file.stem] = read_keras_file(file, CheckpointError).predict_on_batch(inputs).tolist()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded():
    files = [str(FOLDER / f"{name}.keras") for name in NAMES]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_file_is_tested():
    assert sorted(file.stem for file in FOLDER.glob("*.keras")) == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_saved_before_the_move_gives_the_same_outputs(name, loaded):
    expected = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["outputs"]
    np.testing.assert_allclose(loaded[name], expected, atol=2e-6)
