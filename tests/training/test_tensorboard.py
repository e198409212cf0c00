"""What is written for TensorBoard is what the neurons did."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.observe import traces

pytest.importorskip("tensorboard", reason="tensorboard is not installed")
IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
LABELS = np.arange(6) % 3


def make():
    keras.utils.set_random_seed(0)
    model = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [], num_steps=10, seed=0, preset="paper")
    model.compile(keras.optimizers.SGD(0.001), ksbp.losses.SparseSumSquaredError())
    return model


def written(folder):
    """{step: {tag: tensor}} of all event files."""
    found = {}
    for path in sorted((folder / "neurons").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = tf.make_ndarray(value.tensor)
    return found


def test_rates_rasters_and_potentials_are_those_of_the_network(tmp_path):
    model = make()
    before = traces(make(), IMAGES)  # the same seed: the same spikes as the callback's
    board = ksbp.callbacks.SpikingTensorBoard(tmp_path, IMAGES, every=2, neurons=16)
    variables = [*model.weights, model.layers[1].seed_generator.state]
    start = [variable.numpy() for variable in variables]
    board.set_model(model)
    board.on_train_begin()
    for epoch in range(2):
        board.on_epoch_begin(epoch)
        board.on_epoch_end(epoch)
    board.on_train_end()
    for now, then in zip(variables, start, strict=True):
        np.testing.assert_array_equal(now, then)  # so training is the same with it and without
    found = written(tmp_path)
    assert sorted(found) == [0, 2]
    first = found[0]
    assert {tag.split("/")[0] for tag in first} == {"firing_rate", "raster", "membrane"}
    spikes = before["conv1"]["spikes"]
    assert first["firing_rate/conv1"] == pytest.approx(spikes.mean())
    width, height, picture = first["raster/conv1"]
    assert (int(width), int(height)) == (40, 64)
    shown = spikes[0].reshape(10, -1)[:, np.linspace(0, 255, 16).astype(int)].T
    np.testing.assert_array_equal(tf.io.decode_png(picture)[::4, ::4, 0] == 0, shown == 1)
    low, high, count = first["membrane/readout"].T  # a histogram of all steps and classes
    potentials = before["readout"]["membrane"][0]
    assert (low[0], high[-1]) == pytest.approx((potentials.min(), potentials.max()))
    at_edges = np.abs(np.subtract.outer(potentials.ravel(), low[1:])).min(1) < 1e-6
    expected = np.histogram(potentials, [*low, high[-1]])[0]
    assert count.sum() == 10 * 3 and np.abs(count - expected).sum() <= 2 * at_edges.sum()


def test_spikes_of_minus_one_are_shown(tmp_path):
    """A max pooling layer emits them where its input does."""
    pool = ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="counts", name="pool")
    cell = ksbp.SequentialCell([pool, keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))])
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell)(ksbp.ConstantEncoder(num_steps=4)(inputs)))
    model.compile("sgd", ksbp.losses.SparseSumSquaredError())
    images = np.where(np.arange(8)[:, None, None] < 3, -1.0, np.ones((1, 8, 8, 1))).astype("float32")
    spikes = traces(model, images)["pool"]["spikes"][0].reshape(4, -1).T
    assert set(np.unique(spikes)) >= {-1, 1}
    board = ksbp.callbacks.SpikingTensorBoard(tmp_path, images, neurons=16)
    model.fit(images, np.zeros(1), verbose=0, callbacks=[board])
    picture = tf.io.decode_png(written(tmp_path)[0]["raster/pool"][2])[::4, ::4, 0]
    np.testing.assert_array_equal(picture == 0, spikes != 0)


def test_bad_arguments(tmp_path):
    plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    plain.compile("sgd", "mse")
    with pytest.raises(TypeError, match="must have a SpikingRNN"):
        plain.fit(IMAGES, np.zeros((6, 3)), verbose=0, callbacks=[ksbp.callbacks.SpikingTensorBoard(tmp_path, IMAGES)])


@pytest.mark.slow
def test_a_resumed_training_writes_no_second_beginning(tmp_path):
    model = make()
    board = ksbp.callbacks.SpikingTensorBoard(tmp_path, IMAGES)
    model.fit(IMAGES, LABELS, epochs=1, verbose=0, callbacks=[board])
    before = sum(1 for _ in (tmp_path / "neurons").iterdir())
    model.fit(IMAGES, LABELS, epochs=2, initial_epoch=1, verbose=0, callbacks=[board])
    assert sorted(written(tmp_path)) == [0, 1, 2] and before == 1
    last = sorted((tmp_path / "neurons").iterdir())[-1]
    steps = {tf.compat.v1.Event.FromString(r.numpy()).step for r in tf.data.TFRecordDataset(str(last))}
    assert 2 in steps and not any(
        tf.compat.v1.Event.FromString(r.numpy()).summary.value
        for r in tf.data.TFRecordDataset(str(last))
        if tf.compat.v1.Event.FromString(r.numpy()).step == 0
    )
