"""The encoders: rates, signs, streams, saved state."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.utils.randomness import draws_below


def test_poisson_rates_are_the_intensities():
    x = np.array([[0.0, 0.2, 0.5, 0.9, 1.0, 1.7, -0.3, -1.0]], "float32")
    spikes = ksbp.PoissonEncoder(num_steps=20_000, scale=0.5, seed=1)(2 * x).numpy()[0].astype("float64")
    assert set(np.unique(spikes)) == {-1, 0, 1}
    p = np.minimum(np.abs(x[0]), 1)
    tolerance = 4.5 * np.sqrt(p * (1 - p) / 20_000)  # 4.5 standard deviations; exact where p is 0 or 1
    assert (np.abs(spikes.mean(0) - np.sign(x[0]) * p) <= tolerance + 1e-12).all()


def test_poisson_steps_samples_pixels_and_calls_are_independent():
    encoder = ksbp.PoissonEncoder(num_steps=200, seed=0)
    x = np.full((4, 300), 0.5, "float32")
    first, second = encoder(x).numpy().astype("float64"), encoder(x).numpy().astype("float64")
    assert (first != second).mean() == pytest.approx(0.5, abs=0.02)
    for a, b in [(first[:, :-1], first[:, 1:]), (first[:-1], first[1:]), (first[:, :-1], second[:, 1:])]:
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(0, abs=0.02)
    image = encoder(np.full((2, 8, 9, 3), 0.5, "float32")).numpy().astype("float64")
    for axis in range(2, 5):  # rows, columns, colours
        a, b = (np.delete(image, at, axis) for at in (-1, 0))
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(0, abs=0.02), axis


def test_the_same_seed_gives_the_same_stream_in_eager_mode_and_as_a_graph():
    x = np.random.default_rng(0).random((3, 5), "float32")
    streams = []
    for as_graph in (False, True):
        encoder = ksbp.PoissonEncoder(num_steps=30, seed=7)
        call = tf.function(encoder) if as_graph else encoder
        streams.append(np.stack([call(tf.constant(x)) for _ in range(2)]))
    np.testing.assert_array_equal(streams[0], streams[1])
    other = ksbp.PoissonEncoder(num_steps=30, seed=8)(x)
    assert (other.numpy() != streams[0][0]).any()


def test_xla_draws_the_same_spikes_and_dropout_masks():
    images = tf.random.stateless_uniform((3, 50), (1, 2), -1.2, 1.2)
    drawn = []
    for jit_compile in (False, True):
        cell, encoder = ksbp.LIFCell(keras.layers.Dense(100), dropout=0.3, seed=5), ksbp.PoissonEncoder(30, seed=7)
        cell.build((None, 4))
        draw = lambda x, cell=cell, encoder=encoder: (encoder(x), cell.draw_keep(3))  # noqa: E731
        drawn.append(tf.function(draw, jit_compile=jit_compile)(images))
    for plain, compiled in zip(*drawn, strict=True):
        np.testing.assert_array_equal(compiled, plain)


def test_draws_are_those_of_16_bits():
    probabilities = np.array([1e-9, 2.0**-16, 2.0**-16 + 1e-8, 0.1, 0.5, 0.999999, 1.0], "float32")
    bits = tf.random.stateless_uniform([7 * 5_000], (1, 2), None, None, tf.int32, alg="philox").numpy()
    draws = (bits.view("int16").reshape(10_000, 7).astype("float64") + 2**15) / 2**16
    np.testing.assert_array_equal(draws_below(probabilities, (10_000, 7), (1, 2)), draws < probabilities)
    odd = draws_below(probabilities, (3, 7), (1, 2))
    np.testing.assert_array_equal(odd, draws[:3] < probabilities)


# --- time to first spike, changes -------------------------------------------------------------------------------------

VALUES = np.concatenate(
    [[0.0, 0.005, 0.01, 0.010001, 0.01001, 0.0101, 0.012, 1.0, 1.5, -0.2], np.linspace(0.02, 1, 40)]
).astype("float32")


@pytest.mark.parametrize(
    ("linear", "tau", "clip"), [(False, None, False), (False, 3.0, True), (True, None, True), (True, 3.0, False)]
)
def test_latencies_are_those_of_the_formula(linear, tau, clip):
    encoder = ksbp.LatencyEncoder(20, threshold=0.01, linear=linear, tau=tau, clip=clip)
    spikes = encoder(VALUES[None]).numpy()[0]
    x = np.clip(VALUES.astype("float64"), 0, 1)
    if linear:
        steps = (19 if tau is None else tau) * (1 - np.maximum(x, 0.01))
    else:
        above = np.maximum(x - 0.01, 1e-7)
        steps = np.log((above + 0.01) / above)
        steps *= 19 / steps.max() if tau is None else tau
    fires = (np.round(steps) < 20) & ~(clip & np.less(VALUES, np.float32(0.01)))
    np.testing.assert_array_equal(spikes.sum(0), fires)
    np.testing.assert_array_equal(spikes.argmax(0)[fires], np.round(steps)[fires])
    assert len(set(np.round(steps)[fires])) > 5 if tau is None else fires.any()


def test_latency_of_a_scaled_image_and_of_images():
    images = np.random.default_rng(0).random((2, 4, 4, 1)).astype("float32")
    spikes = ksbp.LatencyEncoder(7, scale=0.5)(images)
    assert spikes.shape == (2, 7, 4, 4, 1) and spikes.dtype == "int8"
    np.testing.assert_array_equal(spikes, ksbp.LatencyEncoder(7)(0.5 * images))
    np.testing.assert_array_equal(tf.reduce_sum(spikes, 1), np.ones((2, 4, 4, 1)))


@pytest.mark.parametrize("from_zero", [True, False])
def test_changes(from_zero):
    """The examples of snnTorch's documentation."""
    rises = ksbp.DeltaEncoder(1.0, from_zero=from_zero)(np.array([[1, 2, 2.9, 3, 3.9]], "float32"))
    both = ksbp.DeltaEncoder(1.0, falls=True, from_zero=from_zero)(np.array([[1, 2, 0, 2, 2.9]], "float32"))
    first = int(from_zero)
    assert rises.numpy().tolist() == [[first, 1, 0, 0, 0]]
    assert both.numpy().tolist() == [[first, 1, -1, 1, 0]]
    assert rises.dtype == both.dtype == "int8"


@pytest.mark.parametrize("from_zero", [True, False])
def test_changes_between_the_steps_that_exist(from_zero):
    """Masked at the start, in the middle, at the end, everywhere: as the series without these steps."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(40, 9, 2)).astype("float32")
    mask = rng.random((40, 9)) < np.linspace(0, 1, 40)[:, None]
    series[~mask] = np.nan
    encoder = ksbp.DeltaEncoder(0.5, falls=True, from_zero=from_zero)
    spikes = tf.function(encoder)(tf.constant(series), mask=tf.constant(mask)).numpy()
    assert spikes.dtype == "int8" and not spikes[~mask].any()
    for of_sample, values, exists in zip(spikes, series, mask, strict=True):
        if exists.any():
            np.testing.assert_array_equal(of_sample[exists], encoder(values[None, exists])[0])
    masked = keras.Sequential([keras.Input((9, 2)), keras.layers.Masking(), encoder])
    np.testing.assert_array_equal(masked(np.where(mask[..., None], series, 0)), spikes)


def test_frames_of_a_video():
    frames = keras.Input((None, 6, 5))
    encoded = keras.layers.TimeDistributed(ksbp.PoissonEncoder(4))(frames)
    assert encoded.shape == (None, None, 4, 6, 5)
    spikes = keras.Model(frames, encoded)(np.full((2, 3, 6, 5), 0.5, "float32")).numpy()
    assert spikes.shape == (2, 3, 4, 6, 5)
    assert (spikes[:, 0] != spikes[:, 1]).any() and (spikes[0] != spikes[1]).any()


def test_a_gradient_reaches_the_images_through_a_constant_current_only():
    images = tf.Variable(np.full((2, 3), 0.4, "float32"))
    weights = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    found = []
    for encoder in (ksbp.PoissonEncoder(5, seed=0), ksbp.ConstantEncoder(5, scale=0.5)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(encoder(images), tf.float32) * weights)
        found.append(tape.gradient(loss, images))
    assert found[0] is None
    np.testing.assert_allclose(found[1], 0.5 * weights.sum(1), rtol=1e-5)


def test_bad_arguments_of_these():
    with pytest.raises(ValueError, match="`threshold` must be a number above 0 and below 1.*=1.0"):
        ksbp.LatencyEncoder(5, threshold=1.0)
    with pytest.raises(ValueError, match="`tau` must be a number above 0.*=0"):
        ksbp.LatencyEncoder(5, tau=0)
    with pytest.raises(TypeError, match="`series` must have a floating-point dtype"):
        ksbp.DeltaEncoder()(np.ones((2, 3), "int32"))
    with pytest.raises(ValueError, match="`mask` must have the shape"):
        ksbp.DeltaEncoder()(np.ones((2, 3), "float32"), mask=np.ones((2, 4), "bool"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
        ksbp.DeltaEncoder()(np.full((2, 3), np.nan, "float32"))


# --- a given seed -----------------------------------------------------------------------------------------------------


def test_a_given_seed():
    x = np.random.default_rng(0).random((3, 5), "float32")
    encoder = ksbp.PoissonEncoder(num_steps=30, seed=7)
    state = encoder.seed_generator.state.numpy()
    first = encoder.encode(x, (1, 2)).numpy()
    np.testing.assert_array_equal(encoder.encode(x[:2], (1, 2)), first[:2])
    assert (encoder.encode(x, (1, 3)).numpy() != first).any()
    np.testing.assert_array_equal(encoder.seed_generator.state, state)  # the layer's own stream stays where it is
    seed = encoder.next_seed()
    encoder.seed_generator.state.assign(state)
    np.testing.assert_array_equal(encoder(x), encoder.encode(x, seed))
    with pytest.raises(TypeError, match="`images` must have a floating-point dtype"):
        encoder.encode(np.ones((2, 3), "uint8"), (1, 2))


def test_images_of_another_precision():
    """As after a layer in low precision: those values, in float32."""
    images = tf.cast(tf.random.stateless_uniform((3, 5), (1, 2), -1, 1), "bfloat16")
    encoder = ksbp.PoissonEncoder(num_steps=20, dtype="mixed_bfloat16", seed=1)
    expected = encoder.encode(tf.cast(images, tf.float32), (3, 4))
    np.testing.assert_array_equal(encoder.encode(images, (3, 4)), expected)
    assert encoder(images).dtype == tf.int8


def test_a_plain_layer_right_behind_the_encoder():
    """Pooling takes no int8, as the spikes are."""
    cell = ksbp.SequentialCell(
        [keras.layers.AveragePooling2D(2), keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))]
    )
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, ksbp.SpikingRNN(cell)(ksbp.PoissonEncoder(5)(image)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(np.ones((2, 4, 4, 2), "float32"), training=True))
    assert np.all(tape.gradient(loss, model.trainable_weights[0]))


def test_all_bits_of_a_seed_count():
    x = np.full((2, 50), 0.5, "float32")
    trains = [ksbp.PoissonEncoder(5, seed=seed)(x).numpy() for seed in (0, 1, -1, 2**32, 2**32 + 1, 2**63 - 1)]
    assert not any((a == b).all() for a, b in itertools.combinations(trains, 2))
    for seed in (2**63, 0.5, True):
        with pytest.raises(ValueError, match="`seed` must be an integer of 64 bits or None. Received: seed="):
            ksbp.PoissonEncoder(5, seed=seed)


@pytest.mark.parametrize("encoder", [ksbp.PoissonEncoder, ksbp.LatencyEncoder, ksbp.ConstantEncoder])
def test_how_large_an_image_may_be_depends_on_the_scale(encoder):
    images = np.full((2, 4, 4, 1), 200, "float32")
    assert encoder(10, scale=0.05)(images).shape == (2, 10, 4, 4, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="divide 8-bit images by 255"):
        encoder(10, scale=0.1)(images)


def test_steps_and_scale_are_fixed_once_built():
    """Graphs that were traced keep the old value."""
    one = ksbp.PoissonEncoder(10)
    one.num_steps, one.scale = 5, 0.5
    images = np.full((2, 3), 0.5, "float32")
    assert one(images).shape == (2, 5, 3)
    for name, value in (("num_steps", 7), ("scale", 1.0)):
        with pytest.raises(ValueError, match=rf"`{name}` of the encoder .* is fixed, .*Received: {name}={value}"):
            setattr(one, name, value)
    one.num_steps, one.scale = 5, 0.5  # the same
    assert (one.get_config()["num_steps"], one.get_config()["scale"]) == (5, 0.5)


@pytest.mark.parametrize("encoder", [ksbp.PoissonEncoder, ksbp.LatencyEncoder, ksbp.ConstantEncoder])
class TestBadInput:
    def test_arguments(self, encoder):
        for num_steps in (0, 2.5, True):
            with pytest.raises(ValueError, match=r"`num_steps` must be an integer of at least 1.*num_steps="):
                encoder(num_steps)
        for scale in (0, float("nan"), "x"):
            with pytest.raises(ValueError, match=r"`scale` must be a number above 0.*scale="):
                encoder(10, scale=scale)

    def test_integer_images(self, encoder):
        with pytest.raises(TypeError, match=r"(?s)`images`.*floating.*divide.*255.*uint8"):
            encoder(10)(np.zeros((2, 4, 4, 1), "uint8"))
        with pytest.raises(TypeError, match="(?s)`images`.*uint8"):
            encoder(10)(keras.Input((4, 4, 1), dtype="uint8"))


def test_a_current_may_be_large_with_another_limit_or_none():
    images = np.full((1, 1), 300.0, "float32")
    for largest in (None, 400.0):
        encoder = ksbp.ConstantEncoder(2, largest=largest)
        assert encoder(images).numpy().max() == 300
        assert ksbp.ConstantEncoder.from_config(encoder.get_config()).largest == largest
    with pytest.raises(ValueError, match="`largest` must be a number above 0.*largest=0"):
        ksbp.ConstantEncoder(10, largest=0)
