"""What identifies a model, so that answers of two models are never joined."""

from pathlib import Path

from keras_transfer.storage.content_hashes import hash_content, hash_file
from keras_transfer.storage.sums import SUMS


def identify(path: Path) -> str:
    """Return a hash of a run, by its sums, or of an exported model, by its content.

    Raises:
        OSError: It cannot be read.
    """
    if path.is_file():
        return hash_file(path)
    sums = path / SUMS
    files = [sums] if sums.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return hash_content(*(f"{file.relative_to(path).as_posix()} {hash_file(file)}".encode() for file in files))
