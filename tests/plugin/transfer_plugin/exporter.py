"""An exporter: a .keras file with the class names next to it."""

import json
from pathlib import Path

from keras_transfer import Exporter, Served


class KerasFileExporter(Exporter):
    """Writes what Keras alone can load."""

    name = "keras_file"
    title = "Keras file"
    probe = Path(__file__).with_name("keras_file_probe.py")
    endpoint = "tensors"

    def write(self, served: Served, artifact: Path) -> None:
        """Write model.keras and answers.json."""
        served.save_model(artifact / "model.keras")
        facts = {"names": list(served.head.names), "output": served.head.predictions_output}
        (artifact / "answers.json").write_text(json.dumps(facts))
