"""Write a run's export in a process of its own, on the Keras backend that the format needs and the run does not use.

Usage: python -m keras_transfer.run.export_process RUN FORMAT SETTINGS FOLDER
"""

import json
import sys
from pathlib import Path

from keras_transfer.export import EXPORTERS
from keras_transfer.run.run import Run


def main(folder: str, format_name: str, settings: str, artifact: str) -> None:
    """Load a run folder, which needs neither its data nor pretrained weights, and write what it serves."""
    run = Run(folder)
    exporter = EXPORTERS[format_name](**json.loads(settings))
    exporter.write(run.served, Path(artifact))


if __name__ == "__main__":
    main(*sys.argv[1:])
