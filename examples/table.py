"""From a table of paths, labels and weights: python examples/table.py PICTURES RUN.

The table is made here out of a folder; yours may come from anywhere.
"""

import sys
from pathlib import Path

import pandas as pd

from keras_transfer import ImageClassification

pictures, out = Path(sys.argv[1]), sys.argv[2]
files = sorted(file for file in pictures.glob("*/*") if file.is_file())
table = pd.DataFrame({"photo": [str(file.relative_to(pictures)) for file in files]})
table["kind"] = [file.parent.name for file in files]
table["trust"] = 1.0
table.loc[0, "trust"] = 0.5  # an example whose label is in doubt counts half
table.to_csv(pictures / "labels.csv", index=False)

recipe = ImageClassification(
    {"source": str(pictures / "labels.csv"), "path": "photo", "label": "kind", "weight": "trust", "test": 0.25},
    policy={"name": "last_stages", "stages": 4},
    training={"epochs": 3, "class_weights": "balanced"},
)
run = recipe.fit(out)
for figures in run.reports["test"].classes:
    print(f"{figures.name}: precision {figures.precision:.3f}, recall {figures.recall:.3f}")
