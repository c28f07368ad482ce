"""Write a run's SavedModel in a process of its own, whose Keras runs on TensorFlow while the run's own runs on JAX.

Usage: python -m keras_transfer.run.saved_model_writer RUN SAVED_MODEL
"""

import sys
from pathlib import Path

from keras_transfer.export.saved_model import write_saved_model
from keras_transfer.run.run import Run


def main(folder: str, saved_model: str) -> None:
    """Load a run folder, which needs neither its data nor pretrained weights, and write what it serves."""
    run = Run(folder)
    write_saved_model(run.model, run.head, run.reader, Path(saved_model))


if __name__ == "__main__":
    main(*sys.argv[1:])
