"""A power law through errors at several sizes, and its interval."""

import numpy as np
import pytest

from keras_transfer.frozen.power_law import LEVEL, Measured, fit_power_law, forecast

SIZES = np.array([100.0, 200.0, 400.0, 600.0, 800.0])


def measured(errors, draws=(5, 5, 5, 5, 1), spread=0.0, seed=0, shared=0.0):
    """Errors of models that were trained on subsets of one pool: some of their luck is that of the pool."""
    random = np.random.default_rng(seed)
    pool = shared * random.normal()
    each = [
        error + pool + spread * np.sqrt(SIZES[-1] / size) * random.normal(size=count)
        for error, size, count in zip(errors, SIZES, draws, strict=True)
    ]
    return Measured(SIZES, tuple(each), SIZES[-1], resampled=np.zeros((0, len(SIZES))))


@pytest.mark.parametrize(
    ("floor", "factor", "exponent"),
    [
        pytest.param(0.0, 3.0, 0.5, id="no-floor"),
        pytest.param(0.05, 20.0, 0.9, id="fast"),
        pytest.param(0.1, 0.9, 0.3, id="slow"),
        pytest.param(40.0, 5000.0, 0.6, id="an-error-in-units"),
    ],
)
def test_a_known_power_law_is_recovered(floor, factor, exponent):
    curve = measured(floor + factor * SIZES**-exponent)
    law = fit_power_law(curve)
    expected = floor + factor * np.array([800.0, 1600.0]) ** -exponent
    np.testing.assert_allclose(law(np.array([800.0, 1600.0])), expected, rtol=0.005)
    assert law.exponent == pytest.approx(exponent, abs=0.03)
    found = forecast(curve, [800, 1600])
    gain = expected[0] - expected[1]
    assert found.gain == pytest.approx(gain, rel=0.1)
    low, high = found.gain_interval
    assert low <= gain <= high
    assert high - low < 0.15 * expected[0]  # a curve may bend, even if no error of it is by chance


def test_the_interval_covers_the_truth_as_often_as_promised():
    random, held, widths = np.random.default_rng(0), [], []
    for seed in range(40):
        floor, exponent = random.uniform(0.0, 0.1), random.uniform(0.3, 0.8)
        factor = 0.2 * 100.0**exponent
        spread = 0.006
        curve = measured(floor + factor * SIZES**-exponent, spread=spread, shared=spread, seed=seed)
        # A model on twice as many rows has half of the pool's luck, and luck of its own.
        luck = curve.errors[-1][0] - (floor + factor * 800.0**-exponent)
        pool = luck / 2
        twice = floor + factor * 1600.0**-exponent + pool / 2 + spread * np.sqrt(0.5) * random.normal()
        low, high = forecast(curve, [800, 1600]).gain_interval
        held.append(low <= curve.errors[-1][0] - twice <= high)
        widths.append(high - low)
    assert 0.8 <= np.mean(held) <= 1.0
    assert LEVEL == 0.9
    assert np.mean(widths) < 8 * 0.006  # an interval without bounds would hold everything


def test_no_gain_is_expected_of_a_flat_curve_and_no_error_falls_below_zero():
    flat = np.full(5, 0.25)
    assert forecast(measured(flat), [800, 1600]).gain == pytest.approx(0.0, abs=0.006)
    intervals = [forecast(measured(flat, spread=0.003, seed=seed), [800, 1600]).gain_interval for seed in range(5)]
    assert all(low <= 0.0 <= high for low, high in intervals)
    perfect = forecast(measured(np.array([0.01, 0.004, 0.001, 0.0, 0.0]), spread=0.0), [800, 1600])
    assert (perfect.errors >= 0.0).all()
    assert (perfect.intervals >= 0.0).all()
    assert perfect.gain_interval[1] <= 0.011


def test_sampling_noise_of_the_evaluated_rows_widens_the_interval():
    errors = 0.05 + 2.0 * SIZES**-0.5
    curve = measured(errors, spread=0.001)
    random = np.random.default_rng(1)
    noisy = Measured(
        curve.sizes, curve.errors, curve.pool, resampled=errors + random.normal(0.0, 0.3, (50, 1)) * errors
    )

    def width(one):
        low, high = forecast(one, [800, 1600]).gain_interval
        return high - low

    assert width(noisy) > width(curve)
    assert forecast(curve, [800, 1600]).gain_interval == forecast(curve, [800, 1600]).gain_interval  # no chance in it
