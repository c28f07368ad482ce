"""The curve of a range test of the learning rate, as an image."""

from pathlib import Path

from keras_transfer.training.lr_finder import RangeTest


def plot_range_test(test: RangeTest, image: Path) -> None:
    """Draw the loss over the learning rate, and the suggested rate.

    Raises:
        ConfigError: No rate is suggested.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="grey", markersize=4, label="per batch")
    axes.plot(test.rates, test.smoothed, label="smoothed")
    axes.axvline(test.learning_rate, color="grey", linestyle=":", label=f"{test.learning_rate:g}")
    axes.set(xlabel="training.learning_rate", ylabel="loss", xscale="log", title=f"phase {test.phase}")
    axes.set_ylim(0.0, 2.0 * test.smoothed[0])  # the explosion at the end would flatten what comes before it
    axes.legend(frameon=False)
    figure.savefig(image, dpi=120)
