"""Train on a table of paths, classes and weights: python examples/table.py IMAGES RUN.

This script writes the table from a folder with one subfolder per class. Yours may come from anywhere.
"""

import sys
from pathlib import Path

import pandas as pd

from keras_transfer import ImageClassification

images, out = Path(sys.argv[1]), sys.argv[2]
files = sorted(file for file in images.glob("*/*") if file.is_file())
table = pd.DataFrame({"photo": [str(file.relative_to(images)) for file in files]})
table["kind"] = [file.parent.name for file in files]
table["trust"] = 1.0
table.loc[0, "trust"] = 0.5  # an example with a doubtful label counts half
table.to_csv(images / "labels.csv", index=False)

recipe = ImageClassification(
    {"source": str(images / "labels.csv"), "path": "photo", "label": "kind", "weight": "trust", "test": 0.25},
    policy={"name": "last_stages", "stages": 4},
    training={"epochs": 3, "class_weights": "balanced"},
)
run = recipe.fit(out)
for result in run.reports["test"].classes:
    print(f"{result.name}: precision {result.precision:.3f}, recall {result.recall:.3f}")
