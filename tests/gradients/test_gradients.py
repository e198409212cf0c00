"""Custom derivatives against their formulas, region by region; whole networks are beside the oracle elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.gradients.slopes import eligibility_step, within_bounds


@pytest.mark.parametrize(("count", "membrane", "between"), [
    (0.0, -0.5, False),  # silent: its charge is negative
    (0.0, 0.0, False),  # no charge
    (0.0, 0.1, True),  # silent, but on its way
    (1.0, -1.9, True),  # it fired, and what came in is positive in sum
    (1.0, -2.1, False),  # it fired, but what came in is negative in sum
    (2.0, 0.5, True),  # of a sample with 3 steps, not of one with 2
    (3.0, 0.5, False),  # it fired at every step
    (3.0, 70.0, False),
])  # fmt: skip
def test_within_bounds(count, membrane, between):
    samples = [tf.fill((2, 1), value) for value in (count, membrane)]
    for num_steps, second in ((tf.constant(3.0), between), (tf.constant([3.0, 2.0]), between and count < 2)):
        result = within_bounds(*samples, 2.0, num_steps)
        np.testing.assert_array_equal(result, [[float(between)], [float(second)]])


def weighted_slopes(slopes, spikes, beta, threshold, resets_to_zero):
    """`slope * e` of each step, from a blank record."""
    carried, weighted = tf.zeros_like(slopes[0]), []
    for slope, fired in zip(slopes, spikes, strict=True):
        now, carried = eligibility_step(carried, slope, fired, beta, threshold, resets_to_zero)
        weighted.append(now)
    return np.stack(weighted)


@pytest.mark.parametrize(("beta", "threshold"), [(0.8, 1.0), (1.0, 0.5), (0.9, 2.0)])
@pytest.mark.parametrize("current", [0.05, 0.3, 0.9, 1.4])
def test_eligibility_step_of_a_reset_by_subtraction_is_the_derivative_of_a_smooth_neuron(current, beta, threshold):
    """With a sigmoid in place of the step, it is the derivative of the rate by the current."""
    steepness = 4 / threshold

    def run(current):
        membrane, potentials, rates = 0.0, [], []
        for _ in range(12):
            potentials.append(membrane + current)
            rates.append(1 / (1 + np.exp(-steepness * (potentials[-1] - threshold))))
            membrane = beta * (potentials[-1] - threshold * rates[-1])
        return np.array(potentials), np.array(rates)

    potentials, rates = run(current * threshold)
    slopes = tf.constant(steepness * rates * (1 - rates), tf.float32)
    spikes = tf.cast(potentials > threshold, tf.float32)
    mean = weighted_slopes(tf.unstack(slopes), tf.unstack(spikes), beta, threshold, False).mean()
    h = 1e-5
    difference = (run(current * threshold + h)[1].mean() - run(current * threshold - h)[1].mean()) / (2 * h)
    assert difference > 1e-3
    assert mean == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("resets_to_zero", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("num_steps", [4, 20])
def test_eligibility_step_is_the_derivative_of_a_mean_rate(num_steps, threshold, resets_to_zero):
    """Of many neurons with random currents, with the triangle as wide as the threshold."""
    rng = np.random.default_rng(0)
    mean = rng.normal(0.1, 0.5, 40_000)
    noise = rng.normal(0, 0.7, (num_steps, len(mean)))

    def run(shift):
        membrane, potentials, spikes = np.zeros(len(mean)), [], []
        for drawn in noise:
            potentials.append(membrane + threshold * (mean + shift + drawn))
            spikes.append((potentials[-1] > threshold).astype("float32"))
            kept = potentials[-1] * (1 - spikes[-1]) if resets_to_zero else potentials[-1] - threshold * spikes[-1]
            membrane = 0.95 * kept
        return np.array(potentials), np.array(spikes)

    potentials, spikes = run(0.0)
    slopes = np.maximum(0, 1 - abs(potentials - threshold) / threshold) / threshold
    found = weighted_slopes(tf.unstack(tf.constant(slopes, tf.float32)), spikes, 0.95, threshold, resets_to_zero)
    difference = (run(0.02)[1].mean() - run(-0.02)[1].mean()) / (0.04 * threshold)
    assert found.mean() == pytest.approx(difference, rel=0.05)
