"""Each custom derivative against its formula, region by region."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp import gradients as g


def test_leak_correction_is_the_paper_s_formula():
    # spikes at steps 2 and 5 of 6, at step 6 only, never
    beta = 0.8
    count = tf.constant([2.0, 1.0, 0.0])
    trace = tf.constant([beta**4 + beta**1, 1.0, 0.0])
    expected = [1 + math.log(beta) * (beta**4 + beta) / 2, 1 + math.log(beta), 0.0]
    np.testing.assert_allclose(g.leak_correction(count, trace, beta), expected, rtol=1e-6)
    np.testing.assert_array_equal(g.leak_correction(count, count, 1.0), [1, 1, 0])


def test_spike_total():
    net, total, slope = tf.constant([1.0, 2.0]), tf.constant([5.0, 0.0]), tf.constant([0.5, 0.0])
    with tf.GradientTape() as tape:
        tape.watch([net, total, slope])
        out = g.spike_total(net, total, slope)
        loss = tf.reduce_sum(out * [3.0, 7.0])
    gradients = tape.gradient(loss, [net, total, slope])
    np.testing.assert_array_equal(out, [5, 0])
    np.testing.assert_array_equal(gradients[0], [1.5, 0])
    assert gradients[1] is None and gradients[2] is None


@pytest.mark.parametrize(
    # spiked?, gradient at the spike, gradient at the next potential, correction -> gradient at the current
    ("current", "g_spike", "g_membrane", "correction", "to_zero", "to_subtract"),
    [
        (2.0, 1.0, 0.0, 0.9, 0.45, 0.45),  # fired: the spike's own gradient, times correction / threshold
        (2.0, 0.0, 1.0, 0.9, 0.0, 1.0),  # fired: nothing passes a reset to zero, all passes a subtraction
        (2.0, 1.0, 1.0, 0.9, 0.45, 1.45),
        (0.5, 1.0, 0.0, 0.9, 0.0, 0.0),  # silent: nothing from the spike
        (0.5, 0.0, 1.0, 0.9, 1.0, 1.0),  # silent: the leak counts as 1
        (1.5, 1.0, 1.0, 0.9, 1.0, 1.0),  # at the threshold it does not fire
    ],
)
def test_lif_step_bptt(current, g_spike, g_membrane, correction, to_zero, to_subtract):
    threshold = 2.0
    for resets_to_zero, expected in ((True, to_zero), (False, to_subtract)):

        def forward(membrane, current):
            spikes = tf.cast(membrane + current > threshold, tf.float32)
            return spikes, 0.7 * (membrane + current) * (1 - spikes)

        membrane, x, slot = tf.constant([0.5]), tf.constant([current]), tf.zeros(1)
        with tf.GradientTape() as tape:
            tape.watch([membrane, x, slot])
            spikes, after, slot_after = g.lif_step_bptt(membrane, x, slot, forward, 1 / threshold, resets_to_zero)
            loss = tf.reduce_sum(g_spike * spikes + g_membrane * after + correction * slot_after)
        to_membrane, to_current, to_slot = tape.gradient(loss, [membrane, x, slot])
        np.testing.assert_allclose(to_current, [expected], rtol=1e-6)
        np.testing.assert_allclose(to_membrane, [expected], rtol=1e-6)
        np.testing.assert_allclose(to_slot, [correction], rtol=1e-6)


def test_leak_bptt_is_not_differentiated():
    x = tf.constant([2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = g.leak_bptt(x, 0.5)
    np.testing.assert_array_equal(y, [1.0])
    np.testing.assert_array_equal(tape.gradient(y, x), [1.0])


def test_deliver_corrections():
    output, slots, corrections = (
        tf.constant([2.0]),
        [tf.zeros(3), tf.zeros(())],
        [tf.constant([1.0, 0, 0.5]), tf.ones(())],
    )
    with tf.GradientTape() as tape:
        tape.watch([output, *slots])
        loss = tf.reduce_sum(5 * g.deliver_corrections(output, slots, corrections))
    to_output, *to_slots = tape.gradient(loss, [output, *slots])
    np.testing.assert_array_equal(to_output, [5])
    np.testing.assert_array_equal(to_slots[0], corrections[0])
    np.testing.assert_array_equal(to_slots[1], 1)


@pytest.mark.parametrize("masked", [False, True])
def test_total_over_steps(masked):
    sequences = tf.ones((2, 3, 4))
    seen = tf.constant([[True, False, True], [True, True, True]]) if masked else None
    total = tf.fill((2, 4), 3.0)
    with tf.GradientTape() as tape:
        tape.watch(sequences)
        loss = tf.reduce_sum(g.total_over_steps(sequences, total, seen) * [1.0, 2.0, 3.0, 4.0])
    expected = np.broadcast_to(np.array([1.0, 2, 3, 4]), (2, 3, 4)).copy()
    if masked:
        expected[0, 1] = 0
    np.testing.assert_array_equal(tape.gradient(loss, sequences), expected)


@pytest.mark.parametrize("masked", [False, True])
def test_spread_over_steps_hands_back_the_mean(masked):
    total, outputs = tf.zeros((2, 4)), tf.random.normal((2, 3, 4))
    upstream = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    seen = tf.constant([[False, True, True], [True, True, True]]) if masked else None
    steps = tf.constant([2.0, 3.0]) if masked else tf.constant(3.0)
    with tf.GradientTape() as tape:
        tape.watch(total)
        spread = g.spread_over_steps(total, outputs, steps, seen)
        loss = tf.reduce_sum(spread * upstream)
    np.testing.assert_array_equal(spread, outputs)
    expected = upstream.mean(1)
    if masked:
        expected[0] = upstream[0, 1:].mean(0)
    np.testing.assert_allclose(tape.gradient(loss, total), expected, rtol=1e-6)


@pytest.mark.parametrize("num_steps", [tf.constant(3.0), tf.constant([3.0, 2.0])])
def test_within_bounds(num_steps):
    """The slope but where the neuron fired at every step of its own sample."""
    count = tf.constant([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 1.0]])
    slope = tf.constant([[0.0, 0.5, 0.7, 0.9], [0.0, 0.5, 0.7, 0.9]])
    second = 0.7 if num_steps.shape.rank == 0 else 0.0
    expected = np.array([[0, 0.5, 0.7, 0], [0, 0.5, second, 0.9]], "float32")
    np.testing.assert_array_equal(g.within_bounds(slope, count, num_steps), expected)


@pytest.mark.parametrize("num_steps", [tf.constant(3.0), tf.constant([3.0, 2.0])])
def test_capped(num_steps):
    """A neuron that fired at every step of its own sample takes no gradient that asks for more."""
    count = tf.constant([[0.0, 1.0, 2.0, 3.0, 3.0], [0.0, 1.0, 2.0, 2.0, 1.0]])
    upstream = tf.constant([[-1.0, -0.5, 0.7, -0.9, 0.9], [-1.0, 0.5, -0.7, 0.7, -0.9]])
    with tf.GradientTape() as tape:
        tape.watch(count)
        capped = g.capped(count, num_steps)
    np.testing.assert_array_equal(capped, count)
    third = -0.7 if num_steps.shape.rank == 0 else 0.0
    expected = np.array([[-1.0, -0.5, 0.7, 0.0, 0.9], [-1.0, 0.5, third, 0.7, -0.9]], "float32")
    np.testing.assert_array_equal(tape.gradient(capped, count, upstream), expected)


def test_gradient_wanted():
    assert g.gradient_wanted(True)
    assert not g.gradient_wanted(False)
    assert not g.gradient_wanted(None)
    with tf.GradientTape():
        assert g.gradient_wanted(False)

    @tf.function
    def traced_in_a_tape():
        with tf.GradientTape():
            assert g.gradient_wanted(False)
        assert not g.gradient_wanted(False)

    traced_in_a_tape()


def test_derived_on_demand():
    """The value comes from one function, the derivative from another, to inputs and variables."""
    weight = tf.Variable(3.0)

    @tf.function
    def traced(x):
        output, (state,) = g.derived_on_demand(lambda x: (weight * x, [10 * x]), lambda x: 7 * weight * x, x)
        return output, state

    x = tf.constant([1.0, 2.0])
    np.testing.assert_array_equal(traced(x), [[3.0, 6.0], [10.0, 20.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        output, state = traced(x)
    to_x, to_weight = tape.gradient(output, [x, weight])
    np.testing.assert_array_equal(to_x, [21.0, 21.0])
    assert to_weight.numpy() == 21.0
    np.testing.assert_array_equal(tape.gradient(state, [x, weight], unconnected_gradients="zero")[0], [0.0, 0.0])


def test_after_reads():
    weight = tf.Variable(2.0)

    def walk(x):
        return g.after_reads(lambda: weight * x)

    for run in (walk, tf.function(walk)):
        x = tf.constant(5.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x)
        assert y.numpy() == 10
        assert [float(d) for d in tape.gradient(y, [x, weight])] == [2.0, 5.0]
