"""Train on a folder with one subfolder per class: python examples/folder.py IMAGES RUN."""

import sys

from keras_transfer import ImageClassification

images, out = sys.argv[1:]

run = ImageClassification(images).fit(out)

report = run.reports["test"]
low, high = report.accuracy_interval
print(f"accuracy {report.accuracy:.3f} on {report.n} test images (95 % interval {low:.3f} to {high:.3f})")
print(f"SavedModel: {run.folder / 'export' / 'saved_model' / '1'}")
