"""SavedModel: the numbers of the library in a process without it, for all four signatures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.observe import traces
from tests.export.networks import (
    assert_the_same,
    averages,
    exact,
    expected_of,
    in_a_fresh_process,
    maxima,
    recurrent,
    resnet,
    small,
    spikes,
)
from tests.slow import slow

IMAGES = np.random.default_rng(1).uniform(-1, 1, (5, 12, 12, 1)).astype("float32")


def exported(model, tmp_path):
    ksbp.export.export_saved_model(model, tmp_path / "saved_model")
    return tf.saved_model.load(tmp_path / "saved_model")


@pytest.mark.parametrize("networks", [(recurrent,), slow(((averages, resnet, maxima),))], ids=["recurrent", "residual"])
def test_spikes_in_and_step_by_step_in_a_fresh_process(tmp_path, networks):
    files = [tmp_path / network.__name__ for network in networks]
    for network, file in zip(networks, files, strict=True):
        ksbp.export.export_saved_model(exact(network(num_steps=25)), file)
    for given, network in zip(in_a_fresh_process(files, spikes(), tmp_path), networks, strict=True):
        assert given.keys() >= {"outputs", "window", "membrane_readout"}
        assert_the_same(given, expected_of(network))


def test_images_draw_the_same_spikes_as_the_model_and_nan_is_refused(tmp_path):
    model = small(num_steps=10)
    signatures = exported(model, tmp_path).signatures
    for images in (IMAGES, IMAGES[:2]):  # two calls of one stream, with batches of different sizes
        outputs = signatures["images"](images=tf.constant(images))["outputs"]
        np.testing.assert_allclose(outputs, model(images), atol=1e-5)

    window, images = spikes().astype("float32"), np.zeros((1, 12, 12, 1), "float32")
    window[0, 3, 2, 2, 0] = images[0, 2, 2, 0] = np.nan
    for name, inputs in (("spikes", window), ("images", images)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
            signatures[name](**{name: tf.constant(inputs)})


def test_layers_in_front_of_the_encoder_and_a_fixed_batch_that_is_free_in_the_file(tmp_path):
    images = keras.Input(batch_shape=(2, 12, 12, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    cell = ksbp.SequentialCell([keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))])
    model = keras.Model(images, ksbp.SpikingRNN(cell, stateful=True)(ksbp.PoissonEncoder(8, seed=0)(scaled)))
    loaded = exported(model, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 1), "uint8")
    found = loaded.signatures["images"](images=tf.constant(pixels[:2]))["outputs"]
    np.testing.assert_allclose(found, model(pixels[:2]), atol=1e-5)
    assert loaded.signatures["images"](images=tf.constant(pixels))["outputs"].shape == (3, 3)


def test_random_layers_of_keras_in_front_do_nothing(tmp_path):
    """They are in training mode unless told otherwise."""
    images = keras.Input((12, 12, 1))
    moved = keras.layers.RandomTranslation(0.4, 0.4, fill_mode="constant", seed=0)(images)
    cell = ksbp.SequentialCell(
        [keras.layers.Flatten(), ksbp.LIFCell(keras.layers.Dense(4)), ksbp.ReadoutCell(keras.layers.Dense(3))]
    )
    model = keras.Model(images, ksbp.SpikingRNN(cell)(ksbp.ConstantEncoder(8)(moved)))
    shown = np.random.default_rng(0).uniform(size=(2, 12, 12, 1)).astype("float32")
    expected = model.predict(shown, verbose=0)
    loaded = exported(model, tmp_path)
    np.testing.assert_allclose(loaded.signatures["images"](images=tf.constant(shown))["outputs"], expected, atol=1e-5)
    np.testing.assert_allclose(ksbp.analysis.run(model, shown, verbose=0).outputs[:, -1], expected, atol=1e-5)


def test_signatures(tmp_path):
    own = {
        ksbp.PoissonEncoder(5, seed=0): {"images", "spikes", "step", "serving_default"},
        ksbp.ConstantEncoder(5): {"images", "spikes", "step", "serving_default"},
        None: {"spikes", "step", "serving_default"},
    }
    for i, (encoder, names) in enumerate(own.items()):
        inputs = keras.Input((4,) if encoder else (5, 4))
        layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(3)))
        model = keras.Model(inputs, layer(encoder(inputs) if encoder else inputs))
        ksbp.export.export_saved_model(model, tmp_path / str(i))
        signatures = tf.saved_model.load(tmp_path / str(i)).signatures
        assert set(signatures) == names
        (default,) = signatures["serving_default"].structured_input_signature[1]
        assert default == ("images" if "images" in names else "spikes")


@pytest.mark.parametrize("arguments", [{"stateful": True, "return_state": True}, {"unroll": True}])
def test_arguments_of_the_layer_that_fix_a_shape_make_no_difference(tmp_path, arguments):
    cell = small().layers[-1].cell
    x = spikes(num_steps=4)
    inputs = keras.Input(batch_shape=(2, 4, 12, 12, 1))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, **arguments)(inputs))
    serve = exported(model, tmp_path).signatures["spikes"]
    for batch in (x, x[:1, :3]):
        expected = ksbp.SpikingRNN(cell)(batch)
        for _ in range(2):  # no state is left behind
            np.testing.assert_allclose(serve(spikes=tf.constant(batch))["outputs"], expected, atol=1e-5)


def test_an_output_at_each_step(tmp_path):
    cell = ksbp.LIFCell(keras.layers.Dense(5, kernel_initializer="ones"), beta=0.5, reset_mechanism="subtract")
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, return_sequences=True)(inputs))
    x = spikes(2, 6, (4,))
    loaded = exported(model, tmp_path)
    outputs = loaded.signatures["spikes"](spikes=tf.constant(x))["outputs"]
    assert 0 < outputs.numpy().mean() < 1
    np.testing.assert_array_equal(outputs, model(x))
    membrane = tf.zeros((2, 5))
    for t in range(6):
        new = loaded.signatures["step"](spikes=tf.constant(x[:, t]), **{f"membrane_{cell.name}": membrane})
        membrane = new[f"membrane_{cell.name}"]
        np.testing.assert_array_equal(new["outputs"], outputs[:, t])


@pytest.mark.slow
def test_steps_in_a_low_precision_with_batch_normalization(tmp_path):
    """The window folds normalisation before it casts; so must a step, and what looks at single steps."""
    images = np.random.default_rng(0).uniform(0, 1, (16, 8, 8, 2)).astype("float32")
    model = ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3), "pool"], [32], num_steps=8, seed=0, normalization="batch", dtype="mixed_float16",
        encoder=ksbp.ConstantEncoder(8), preset="paper",
    )  # fmt: skip
    ksbp.calibrate(model, images, firing_rate=0.1, output_std=0.7, verbose=0)
    expected = model.predict(images, verbose=0)
    step = exported(model, tmp_path).signatures["step"]
    states = {
        name: tf.zeros((16, *tensor.shape[1:]))
        for name, tensor in step.structured_input_signature[1].items()
        if name != "spikes"
    }
    for _ in range(8):
        outputs = step(spikes=tf.constant(images), **states)
        states = {name: outputs[name] for name in states}
    np.testing.assert_allclose(outputs["outputs"] / 8, expected, atol=1e-6)
    np.testing.assert_allclose(ksbp.analysis.run(model, images, verbose=0).outputs[:, -1], expected, atol=1e-6)
    last = list(traces(model, images).values())[-1]["membrane"][:, -1]
    np.testing.assert_allclose(last / 8, expected, atol=1e-6)


def test_nothing_of_training_is_in_the_file(tmp_path):
    model = small(num_steps=5, dropout=0.2)
    model.compile("adam", loss=ksbp.losses.SparseSumSquaredError())
    model.optimizer.build(model.trainable_variables)
    exported(model, tmp_path)
    graph = (tmp_path / "saved_model" / "saved_model.pb").read_bytes()
    assert b"TanhGrad" not in graph
    assert b"internal_grad_fn" not in graph  # the derivative on demand
    size = sum(file.stat().st_size for file in (tmp_path / "saved_model" / "variables").iterdir())
    assert size < 4.1 * model.count_params() + 10_000  # weights, not the two moments of each


def test_steps_of_a_converted_network_with_max_pooling(tmp_path):
    """The state of max pooling is shaped like its inputs: a stream of it equals the window."""
    ann = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(), keras.layers.Dense(3),
    ])  # fmt: skip
    images = np.random.default_rng(0).uniform(0, 1, (5, 8, 8, 1)).astype("float32")
    snn = ksbp.convert_to_snn(ann, images, num_steps=20)
    ksbp.export.export_saved_model(snn, tmp_path / "snn")
    loaded = tf.saved_model.load(str(tmp_path / "snn"))
    step = loaded.signatures["step"]
    inputs = step.structured_input_signature[1]
    state = {name: tf.zeros((5, *spec.shape[1:])) for name, spec in inputs.items() if name != "spikes"}
    for _ in range(20):
        state = step(spikes=tf.constant(images), **state)
        output = state.pop("outputs")
    np.testing.assert_allclose(output / 20, snn(images), rtol=1e-5, atol=1e-6)
