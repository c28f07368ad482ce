"""Start a run from an earlier run on other images: python examples/pretrain.py MANY FEW RUNS.

Both runs use the same backbone. Classes, head and image size may differ.
"""

import sys
from pathlib import Path

from keras_transfer import ImageClassification

many, few, runs = sys.argv[1], sys.argv[2], Path(sys.argv[3])

first = ImageClassification(
    {"source": many, "image_size": 64},
    policy={"name": "last_stages", "stages": 2},
    training={"epochs": 2},
    export={"formats": []},
).fit(runs / "first")

for start in ("pretrained", str(first.folder)):
    run = ImageClassification(
        {"source": few, "image_size": 96, "test": 0.5, "validation": 0.0},
        backbone={"name": first.config.backbone.name, "weights": start},
        policy="head",
        training={"keep": "last"},
        export={"formats": []},
    ).fit(runs / f"from_{Path(start).name}")
    print(f"from {start}: accuracy {run.reports['test'].accuracy:.3f}")
