"""``keras-transfer``, which prints what features it computes. Not a test: tests start it."""

import os

from keras_transfer.cli import main
from keras_transfer.frozen import cache as features

_compute = features.FeatureCache._compute


def _count(self, model, frozen_stages, split, views):
    print("computes features of", split.name, flush=True)
    return _compute(self, model, frozen_stages, split, views)


features.FeatureCache._compute = _count
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
main()
