"""Train with a loop of your own: `recipe.prepare()` gives the model, the data and the phases.

Usage: python examples/own_loop.py path/to/images
"""

import sys

from keras_transfer import ImageClassification


def main(images: str) -> None:
    """Solve the head, fine-tune every stage, and evaluate, without a run folder."""
    recipe = ImageClassification(images, policy="lp_ft", training={"epochs": 2})
    job = recipe.prepare()
    first_epoch = 0
    for phase in job.phases:
        # Sets which layers train, compiles, and returns the Keras model; the head of a `solve` phase is solved here.
        model = job.apply(phase)
        if not phase.solve:
            for epoch in range(first_epoch, first_epoch + phase.epochs):
                for inputs, targets, weights in job.training_batches(range(epoch, epoch + 1)):
                    logs = model.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)
                print(f"{phase.name} epoch {epoch + 1}: loss {logs['loss']:.4f}")
        first_epoch += phase.epochs
    print("test:", model.evaluate(job.test_batches, return_dict=True, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
