"""Predict with a SavedModel and TensorFlow alone: python examples/serve.py RUN/export/saved_model/1 IMAGE..."""

import sys
from pathlib import Path

import tensorflow as tf

saved_model, *images = sys.argv[1:]

serve = tf.saved_model.load(saved_model).signatures["serving_default"]
outputs = serve(image_bytes=tf.constant([Path(image).read_bytes() for image in images]))
for image, ok, label, score in zip(images, *(outputs[name].numpy() for name in ("ok", "label", "score")), strict=True):
    print(f"{image}: {label.decode()} ({score:.2f})" if ok else f"{image}: cannot be read")
