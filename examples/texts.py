"""Classify the texts of a table, then predict for new ones: python examples/texts.py TABLE.csv RUN."""

import sys

from keras_transfer import Run, TextClassification

table, out = sys.argv[1:]

recipe = TextClassification(
    table,
    text="review",  # the column of texts; text_pair names a second one
    label="stars",  # the column of classes
    policy="head",  # logistic regression on frozen embeddings; the default, lp_ft, also fine-tunes the network
)
run = recipe.fit(out)
print(f"accuracy {run.reports['test'].accuracy:.3f}")

for prediction in Run(out).predict(["Came late, and broken.", "Just what I had hoped for!"]):
    print(f"{prediction.input}: {prediction.label} ({prediction.score:.2f})")
