"""Runtimes and converters of formats are extras: what lacks is named before a run has trained for hours."""

import importlib.util

from keras_transfer.errors import ExportError


def require_packages(title: str, extra: str, *packages: str) -> None:
    """Check that a format's packages are installed, without importing them.

    Raises:
        ExportError: Packages are missing; it names the extra.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ExportError(
            f"export.formats: {title} needs packages that are not installed: {', '.join(missing)}. "
            f"Install them with pip install 'keras-transfer[{extra}]'."
        )
