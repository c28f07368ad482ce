"""From a folder with a sub-folder per class to a served model: python examples/folder.py PICTURES RUN."""

import sys

from keras_transfer import ImageClassification

pictures, out = sys.argv[1:]

run = ImageClassification(pictures).fit(out)

report = run.reports["test"]
low, high = report.accuracy_interval
print(f"accuracy {report.accuracy:.3f} on {report.n} test pictures (95 % interval {low:.3f} to {high:.3f})")
print(f"SavedModel: {run.folder / 'export' / 'saved_model' / '1'}")
