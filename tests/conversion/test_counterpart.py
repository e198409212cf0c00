"""The ANN counterpart: against a stock Keras network, with weights shared and copied both ways."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.slow import slow


def images(shape=(8, 8, 1), number=4):
    return np.random.default_rng(0).uniform(-1, 1, (number, *shape)).astype("float32")


def test_is_the_stock_network_with_the_same_weights():
    snn = ksbp.models.spiking_lenet(num_steps=3, dropout=0.2, seed=0)
    ann = ksbp.ann_counterpart(snn)
    stock = keras.Sequential([
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(20, 5, padding="same", use_bias=False, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.AveragePooling2D(2),
        keras.layers.Conv2D(50, 5, padding="same", use_bias=False, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(200, use_bias=False, activation="relu"),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(10, use_bias=False),
    ])  # fmt: skip
    stock.set_weights([v.numpy() for v in snn.trainable_weights])
    x = images((28, 28, 1))
    np.testing.assert_allclose(ann(x), stock(x), rtol=1e-5, atol=1e-6)
    kinds = [type(layer) for layer in ann.layers if not isinstance(layer, keras.layers.ReLU)]
    assert kinds.count(keras.layers.Dropout) == 3
    assert [layer.rate for layer in ann.layers if isinstance(layer, keras.layers.Dropout)] == [0.2] * 3
    assert ann.count_params() == snn.count_params()


def test_residual_network_adds_currents_before_the_activation():
    snn = ksbp.models.spiking_resnet(
        (8, 8, 2), 3, stem_filters=4, blocks=[(4, 1), (6, 2)], dense_units=[], num_steps=3, seed=0, preset="paper"
    )
    ann = ksbp.ann_counterpart(snn)
    assert ann.count_params() == snn.count_params()
    x = images((8, 8, 2))
    block = snn.get_layer("time").cell.cells[2]
    stem, pool = snn.get_layer("time").cell.cells[:2]
    relu = keras.ops.relu
    start = pool.synapse(relu(stem.synapse(x)))
    around = start if block.shortcut is None else block.shortcut(start)
    expected = relu(block.junction.synapse(relu(block.body.synapse(start))) + around)
    inner = keras.Model(ann.input, ann.get_layer(f"{block.junction.name}_relu").output)
    np.testing.assert_allclose(inner(x), expected, rtol=1e-5, atol=1e-6)


def test_saves_and_takes_low_precision(tmp_path):
    snn = ksbp.models.spiking_vgg(
        (8, 8, 1), 3, [(4, 3)], [16], num_steps=4, dtype="mixed_bfloat16", dropout=0.1, preset="paper"
    )
    ann = ksbp.ann_counterpart(snn)
    ann.save(tmp_path / "ann.keras")
    x = images()
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "ann.keras")(x), ann(x))
    assert ann(x).dtype == "float32"


@pytest.mark.parametrize("offset", ["bias", "normalization"])
def test_the_scale_of_the_encoder_is_kept(offset):
    ann = keras.Sequential([keras.Input((8,)), keras.layers.Dense(6, activation="relu", use_bias=offset == "bias")])
    if offset == "normalization":
        ann.add(keras.layers.BatchNormalization())
    ann.add(keras.layers.Dense(3, use_bias=False))
    ann.set_weights([np.random.default_rng(i).uniform(0.1, 1, w.shape) for i, w in enumerate(ann.get_weights())])
    x = np.random.default_rng(9).uniform(0, 1, (16, 8)).astype("float32")
    snn = ksbp.convert_to_snn(ann, x, encoder=ksbp.ConstantEncoder(64, scale=0.25))
    again = ksbp.ann_counterpart(snn)
    assert "encoder_scale" in [layer.name for layer in again.layers]
    logits, expected = again(x).numpy(), ann(x).numpy()
    unit = np.linalg.norm(logits) / np.linalg.norm(expected)
    np.testing.assert_allclose(logits / unit, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    changed = [weight + 0.5 for weight in again.get_weights()]
    again.set_weights(changed)
    ksbp.copy_weights(again, snn)
    np.testing.assert_equal(snn.layers[-1].get_weights(), changed)


def test_layers_in_front_of_the_encoder_stay_and_behind_the_network_are_refused():
    inputs = keras.Input((8, 8, 1))
    encoded = ksbp.ConstantEncoder(3)(keras.layers.Rescaling(1 / 255)(inputs))
    cell = ksbp.SequentialCell([keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False))])
    snn = keras.Model(inputs, ksbp.SpikingRNN(cell)(encoded))
    x = 255 * images()
    expected = (x / 255).reshape(4, -1) @ snn.trainable_weights[0].numpy()
    np.testing.assert_allclose(ksbp.ann_counterpart(snn)(x), expected, rtol=1e-5, atol=1e-5)
    behind = keras.Model(inputs, keras.layers.Dense(2)(snn.output))
    with pytest.raises(ValueError, match="must end in its SpikingRNN layer"):
        ksbp.ann_counterpart(behind)


@pytest.mark.parametrize("pooling", [slow(keras.layers.AveragePooling2D), keras.layers.MaxPooling2D])
def test_batch_normalization_and_pooling_without_neurons(pooling):
    """As a stock network: a normalised shortcut, plain averages or maxima, and statistics that are copied both ways."""
    kind = "max" if pooling is keras.layers.MaxPooling2D else "average"
    snn = ksbp.models.spiking_resnet(
        (8, 8, 1), 3, [(6, 2)], [5], num_steps=4, stem_filters=4, seed=0, normalization="batch", pooling=kind,
        initial_membrane=0.5, surrogate="triangle", preset="paper",
    )  # fmt: skip
    ksbp.training.update_statistics(snn, images(number=8))
    ann = ksbp.ann_counterpart(snn)
    assert [type(layer) for layer in ann.layers].count(pooling) == 1
    stem, _, block, _, fc, readout = snn.get_layer("time").cell.cells
    relu = keras.ops.relu
    x = images()
    start = pooling(2)(relu(stem.synapse(x)))
    hidden = relu(block.junction.synapse(relu(block.body.synapse(start))) + block.shortcut(start))
    expected = readout.synapse(relu(fc.synapse(keras.ops.reshape(hidden, (4, -1)))))
    np.testing.assert_allclose(ann(x), expected, rtol=1e-5, atol=1e-6)

    statistics = [v.numpy() for v in snn.non_trainable_weights]
    ann.set_weights([weight + 0.1 for weight in ann.get_weights()])
    ann(x, training=True)
    np.testing.assert_equal([v.numpy() for v in snn.non_trainable_weights], statistics)
    ksbp.copy_weights(ann, snn)
    assert len(statistics) == 2 * 5
    for a, b in zip(snn.non_trainable_weights, statistics, strict=True):
        assert np.abs(a - b).max() > 0
    other = ksbp.ann_counterpart(snn)
    np.testing.assert_allclose(other(x), ann(x), rtol=1e-5, atol=1e-6)
    other.set_weights([weight + 1 for weight in other.get_weights()])
    ksbp.copy_weights(snn, other)
    np.testing.assert_allclose(other(x), ann(x), rtol=1e-5, atol=1e-6)


def with_stock_normalization(layer):
    if isinstance(layer, keras.Sequential):
        return keras.Sequential([with_stock_normalization(part) for part in layer.layers], name=layer.name)
    stock = keras.layers.BatchNormalization
    return (stock if isinstance(layer, stock) else type(layer)).from_config(layer.get_config())


def test_it_learns_as_with_the_batch_normalization_of_keras(tmp_path):
    network = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool", (6, 3)], [5], seed=0)
    ann = ksbp.ann_counterpart(network)
    stock = keras.models.clone_model(ann, clone_function=with_stock_normalization)
    stock.set_weights(ann.get_weights())
    for model in (ann, stock):
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(images(number=12), np.arange(12) % 3, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(ann.weights, stock.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    ann.save(tmp_path / "ann.keras")
    again = keras.saving.load_model(tmp_path / "ann.keras")
    np.testing.assert_array_equal(again(images()), ann(images()))
    np.testing.assert_allclose(again(images()), stock(images()), rtol=1e-4, atol=1e-5)


def test_weights_before_the_encoder_are_copied_too():
    inputs = keras.Input((4,))
    front = keras.layers.Dense(6, name="front")(inputs)
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(5)), ksbp.ReadoutCell(keras.layers.Dense(3))])
    snn = keras.Model(inputs, ksbp.SpikingRNN(cell)(ksbp.ConstantEncoder(5)(front)))
    ann = ksbp.ann_counterpart(snn)
    ann.set_weights([weight + 1.0 for weight in ann.get_weights()])
    ksbp.copy_weights(ann, snn)
    np.testing.assert_array_equal(snn.get_layer("front").kernel, ann.get_layer("before_encoder").layers[-1].kernel)
    snn.get_layer("front").kernel.assign(snn.get_layer("front").kernel - 2.0)
    ksbp.copy_weights(snn, ann)
    np.testing.assert_array_equal(snn.get_layer("front").kernel, ann.get_layer("before_encoder").layers[-1].kernel)


def on_sequences(*layers):
    inputs = keras.Input((5, 4))
    x = inputs
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def plain():
    return on_sequences(keras.layers.Dense(4))


def lif(**kwargs):
    return ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(4, name="dense"), **kwargs))


def in_a_row(*units):
    cells = [ksbp.LIFCell(keras.layers.Dense(n), name=f"fc{i}") for i, n in enumerate(units)]
    return on_sequences(ksbp.SpikingRNN(ksbp.SequentialCell(cells)))


def weights_that_differ():
    shared = keras.layers.Dense(4)
    cell = ksbp.SequentialCell([ksbp.LIFCell(shared, name="a"), ksbp.LIFCell(shared, name="b")])
    snn = on_sequences(ksbp.SpikingRNN(cell))
    ann = ksbp.ann_counterpart(snn)
    ann.get_layer("b").kernel.assign(2 * ann.get_layer("b").kernel)
    return ann, snn


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: ksbp.ann_counterpart(plain()), TypeError, "SpikingRNN"),
    (lambda: ksbp.ann_counterpart(on_sequences(keras.layers.Rescaling(2.0, name="e"), lif())), ValueError, "'e'"),
    (lambda: ksbp.ann_counterpart(on_sequences(keras.layers.Masking(), lif())), ValueError, "mask"),
    (lambda: ksbp.copy_weights(plain(), plain()), TypeError, "SpikingRNN"),
    (lambda: ksbp.copy_weights(ksbp.ann_counterpart(in_a_row(3)), in_a_row(3, 3)), ValueError, "fc1"),
    (lambda: ksbp.copy_weights(ksbp.ann_counterpart(in_a_row(3)), in_a_row(4)), ValueError, "shape"),
    (lambda: ksbp.copy_weights(*weights_that_differ()), ValueError, "shared by layers that differ"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
