"""Import TensorFlow without its output, after checking the environment."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from keras_transfer.errors import ConfigError


def import_tensorflow() -> None:
    """Import TensorFlow without the lines that it prints at every start; they are shown if the import fails.

    Lines from before its log is set up ignore TF_CPP_MIN_LOG_LEVEL, so the file descriptor itself is redirected.

    Raises:
        ConfigError: The environment sets a Keras version or backend that this package does not support.
    """
    _check_keras()
    sys.stderr.flush()
    stderr = os.dup(2)
    with _open_scratch() as said:
        os.dup2(said.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name not in ("jax", "torch"):
                raise
            fix = (
                "Install it with pip install 'keras-transfer[jax]', or unset KERAS_BACKEND."
                if error.name == "jax"
                else "Recipes train on tensorflow and jax. Set KERAS_BACKEND=tensorflow, or the backend in keras.json."
            )
            name = {"jax": "JAX", "torch": "PyTorch"}[error.name]
            raise ConfigError(f"KERAS_BACKEND={error.name} needs {name}, which is not installed. {fix}") from error
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def importing_ray() -> Iterator[None]:
    """Explain what to install if an import of Ray fails.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(
            "--engine ray needs Ray, which is not installed. Install it with pip install 'keras-transfer[ray]', here "
            "and on every node."
        ) from error


def _check_keras() -> None:
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in ("tensorflow", "jax"):
        raise ConfigError(
            f"Recipes train on Keras' backends tensorflow and jax. Received: KERAS_BACKEND={backend}. "
            "Set KERAS_BACKEND=tensorflow, or leave it out."
        )
    legacy = os.environ.get("TF_USE_LEGACY_KERAS", "").lower()
    if legacy in ("1", "true"):
        raise ConfigError(
            f"TF_USE_LEGACY_KERAS asks for Keras 2, and recipes train on Keras 3. Received: {legacy}. Unset it."
        )


def _open_scratch() -> IO[bytes]:
    """A file for a few lines; without a temporary folder, they are not kept."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")
