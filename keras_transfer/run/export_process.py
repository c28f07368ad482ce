"""Write a run's export in a separate process, on the Keras backend that the format needs and the run does not use.

Usage: python -m keras_transfer.run.export_process RUN FORMAT SETTINGS FOLDER [CALIBRATION]
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from keras_transfer.export import EXPORTERS
from keras_transfer.run.run import Run


def main(folder: str, format_name: str, settings: str, artifact: str, calibration: str | None = None) -> None:
    """Load a run folder, which needs neither its data nor pretrained weights, and export its model."""
    run = Run(folder)
    exporter = EXPORTERS[format_name](**json.loads(settings))
    examples = None if calibration is None else Path(calibration)
    exporter.write(replace(run.served, calibration=examples, quantize=exporter.quantize), Path(artifact))


if __name__ == "__main__":
    main(*sys.argv[1:])
