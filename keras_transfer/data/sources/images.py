"""Images as a kind of examples."""

from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from keras_transfer.config.data import ImageDataConfig
from keras_transfer.data.examples.base import Examples
from keras_transfer.data.examples.images import EncodedImages, Images
from keras_transfer.data.formats.pixels import encode_pillow, encode_pixels
from keras_transfer.data.sources.base import Source
from keras_transfer.data.sources.file_examples import FileKind
from keras_transfer.data.sources.python_contents import ContentForm
from keras_transfer.data.tables.tables import kind_of


class ImageKind(FileKind[ImageDataConfig]):
    """Images: files, whose paths are the rows of a table, or the encoded bytes of files."""

    name, plural = "image", "images"
    suffixes = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".npy", ".JPG", ".JPEG", ".PNG", ".BMP", ".WEBP")
    other_suffixes = (".tif", ".tiff", ".heic")

    def form(self, config: ImageDataConfig) -> ContentForm:
        """Return that an image is an array, a PIL image, or bytes; arrays are encoded without loss."""
        return ContentForm("image", 3, _encode)

    def from_tfds(self, name: str, dataset: Any, config: ImageDataConfig) -> Source:
        import tensorflow_datasets as tfds

        from keras_transfer.data.sources.tfds import TfdsForm, read_tfds_files

        form = TfdsForm("image", tfds.features.Image, lambda content, feature: content)
        return read_tfds_files(name, dataset, config, form)

    def to_examples(self, source: Source, rows: pd.DataFrame, config: ImageDataConfig) -> Examples:
        """Return files, or rows of the cache's array of bytes."""
        if source.encoded is not None:
            return EncodedImages.of(source.encoded.select(rows.index.to_numpy()))
        return Images(source.root, tuple(rows["path"]))


def _encode(content: Any) -> bytes:
    if isinstance(content, Image.Image):
        return encode_pillow(content)
    if isinstance(content, dict):  # as Hugging Face's datasets have images
        content = content.get("bytes")
    if isinstance(content, bytes):
        return content
    if not isinstance(content, np.ndarray):
        raise ValueError(f"expected the bytes of an image file or an array of pixels. Received: {kind_of(content)}")
    return encode_pixels(content)
