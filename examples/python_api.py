"""Choose a backbone and a policy, train, predict, export: python examples/python_api.py IMAGES RUN."""

import sys

from keras_transfer import BACKBONES, POLICIES, ImageClassification, Run, TransferError

images, out = sys.argv[1:]

available = [name for name in BACKBONES if BACKBONES[name].available]
print(f"backbones with weights on this machine: {', '.join(available)}; policies: {', '.join(POLICIES)}")

try:
    ImageClassification(images, backbone="resnet5O", policy={"name": "last_stages", "stagse": 3})
except TransferError as error:
    print(f"All mistakes are reported at once, each with the nearest known name:\n{error}")

recipe = ImageClassification(
    images,
    seed=1,
    deterministic=True,
    backbone="efficientnet_lite0",
    head={"pooling": "both", "dropout": 0.3},
    policy="head",
    training={"epochs": 4, "learning_rate": 3e-3},
    export={"formats": []},
)
recipe.fit(out)

run = Run(out)  # needs the run folder only: neither the data nor the pretrained weights
first = run.predict(images)[0]
print(f"{first.input}: {first.label} ({first.score:.2f})")
folder, parity = run.export()
print(f"{folder}: {parity.examples} examples match within {parity.largest_difference:.1g}")
