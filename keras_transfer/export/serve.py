"""Predict with the model in this folder: python serve.py INPUT... Needs NumPy, and onnxruntime or ai-edge-litert."""

import contextlib
import json
import sys
import zipfile
from pathlib import Path

import inputs
import numpy as np


def start(folder):
    """Return the model's description, and a function from tensors by name to outputs by name."""
    if (folder / "model.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        text, outputs = session.get_modelmeta().custom_metadata_map["keras_transfer"], session.get_outputs()
        return json.loads(text), lambda x: {y.name: z for y, z in zip(outputs, session.run(None, x), strict=True)}
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(folder / "model.tflite")).get_signature_runner("serving_default")
    with zipfile.ZipFile(folder / "model.tflite") as archive:
        return json.loads(archive.read("keras_transfer.json")), lambda x: runner(**x)


def load(folder):
    """Return a function from a list of inputs to outputs by name, a row per input; ok: whether it could be read."""
    about, run = start(Path(folder))
    read, output, names = inputs.load(Path(folder), about), about["predictions_output"], np.array(about["names"])
    padding = given if isinstance(given := about["preprocessing"].get("padding"), dict) else {}  # of texts; others: 0
    blank = {x["name"]: np.zeros([n or 1 for n in x["shape"][1:]], x["dtype"]) for x in about["inputs"]}

    def predict(batch):
        rows = [None] * len(batch)
        for row, one in enumerate(batch):
            with contextlib.suppress(Exception):  # decoders raise anything for what is damaged
                rows[row] = read(one)
        other = next(filter(None, rows), blank)  # a row of zeros would widen the ranges of a quantized model
        found = run({name: _stack([(row or other)[name] for row in rows], padding.get(name, 0)) for name in blank})
        ok = np.array([row is not None for row in rows]) & np.isfinite(found[output]).all(axis=1)
        found |= {"label": names[found["label_index"]]} if "label_index" in found else {}
        for name, x in found.items():  # of what could not be read: NaN, 0, false or an empty text
            neutral = x.dtype.type("nan") if output == "values" and x.dtype.kind == "f" else x.dtype.type()
            found[name] = np.where(ok.reshape(-1, *[1] * (x.ndim - 1)), x, neutral)
        return {**found, "ok": ok, "names": np.tile(names, (len(ok), 1))}

    return predict


def _stack(rows, value):
    most = max(map(len, rows))
    return np.stack([np.pad(x, [(0, most - len(x)), *[(0, 0)] * (x.ndim - 1)], constant_values=value) for x in rows])


if __name__ == "__main__":
    answers = load(Path(__file__).parent)([inputs.from_argument(argument) for argument in sys.argv[1:]])
    for row, argument in enumerate(sys.argv[1:]):
        print(argument, {k: v[row].tolist() for k, v in answers.items() if k not in ("features", "names")})
