"""Answer with a SavedModel and TensorFlow alone: python examples/serve.py RUN/export/saved_model/1 PICTURE..."""

import sys
from pathlib import Path

import tensorflow as tf

saved_model, *pictures = sys.argv[1:]

serve = tf.saved_model.load(saved_model).signatures["serving_default"]
answers = serve(image_bytes=tf.constant([Path(picture).read_bytes() for picture in pictures]))
for picture, label, score in zip(pictures, answers["label"].numpy(), answers["score"].numpy(), strict=True):
    print(f"{picture}: {label.decode()} ({score:.2f})")
