"""All from Python: look, choose a backbone and a policy, train, predict: python examples/python_api.py PICTURES RUN."""

import sys

from keras_transfer import BACKBONES, POLICIES, ImageClassification, Run, TransferError

pictures, out = sys.argv[1:]

usable = [name for name in BACKBONES if BACKBONES[name].available]
print(f"backbones with weights on this machine: {', '.join(usable)}; policies: {', '.join(POLICIES)}")

try:
    ImageClassification(pictures, backbone="resnet5O", policy={"name": "full", "stagse": 3})
except TransferError as error:
    print(f"Mistakes are reported at once, with the nearest names:\n{error}")

recipe = ImageClassification(
    pictures,
    seed=1,
    deterministic=True,
    backbone="efficientnet_lite0",
    head={"pooling": "both", "dropout": 0.3},
    policy="head",
    training={"epochs": 4, "learning_rate": 3e-3},
    export={"formats": []},
)
recipe.fit(out)

run = Run(out)  # as another program would, later, on another machine
first = run.predict([pictures])[0]
print(f"{first.input}: {first.label} ({first.score:.2f})")
folder, parity = run.export()
print(f"{folder}: the same answers for {parity.examples} examples, to within {parity.largest_difference:.1g}")
