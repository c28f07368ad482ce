"""What formats with a single file share, with a folder for the files of a reader."""

import importlib.util
import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from keras_transfer.data.readers.base import Reader
from keras_transfer.errors import ConfigError, ExportError
from keras_transfer.export.base import Exporter
from keras_transfer.export.description import Description, damaged, missing
from keras_transfer.export.loading import not_installed, shorten_error


class SingleFileExporter(Exporter):
    """A format with a single file, which a user may rename or move together with the files next to it."""

    model_file: ClassVar[str]
    """Its name in an artifact's folder, such as ``model.onnx``."""

    packages: ClassVar[tuple[str, ...]]
    """The packages to import, which :attr:`extra` installs."""

    has_client = True
    endpoint = "tensors"
    backend = "tensorflow"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            raise ExportError(
                f"export.formats: {self.title} needs packages that are not installed: {', '.join(missing)}. "
                f"Install them with pip install 'keras-transfer[{self.extra}]'."
            )

    def check(self, reader: Reader) -> None:
        """Refuse networks that decode sequences step by step: the files contain graphs without loops."""
        if reader.writes:
            raise ConfigError(
                f"export.formats: the format {self.name} does not support networks that write transcripts, which they "
                "choose token by token in a loop. Use saved_model."
            )

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Return whether the path is a file with the format's suffix, or a folder that contains :attr:`model_file`."""
        file = cls.find_artifact(path)
        return file.suffix.lower() == Path(cls.model_file).suffix and file.is_file()

    @classmethod
    def find_artifact(cls, path: Path) -> Path:
        return path / cls.model_file if path.is_dir() else path

    @classmethod
    def read_description(cls, path: Path) -> Description:
        try:
            content = cls.read_metadata(cls.find_artifact(path))
        except ExportError:
            raise
        except ModuleNotFoundError as error:
            raise not_installed(cls, path, error) from error
        except Exception as error:  # parsers raise anything for files that are damaged
            raise damaged(str(path), shorten_error(error)) from error
        if content is None:
            raise missing(str(path))
        return Description.from_json(content, str(path))

    @classmethod
    def record_proof(cls, artifact: Path, facts: Mapping[str, Any]) -> None:
        file = cls.find_artifact(artifact)
        content = cls.read_metadata(file)
        if content is not None:
            cls.write_metadata(file, json.dumps({**json.loads(content), "proof": dict(facts)}, allow_nan=False))

    @classmethod
    @abstractmethod
    def write_metadata(cls, file: Path, content: str) -> None:
        """Write the JSON of a description into a file, replacing an existing one."""

    @classmethod
    @abstractmethod
    def read_metadata(cls, file: Path) -> str | bytes | None:
        """Return the JSON of the description in a file, if there is one; any exception means that it is damaged."""
