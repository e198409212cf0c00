"""Weights that sum to 0, kept so by `fit`."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.constraints import ZeroMean
from tests.networks import noisy_patterns

RNG = np.random.default_rng(0)


def network(**kwargs):
    return ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3), (8, 3), "pool"], [24], seed=0, reset_mechanism="subtract", gradient="bounded",
        encoder=ksbp.ConstantEncoder(8), kernel_constraint=ZeroMean(), **kwargs,
    )  # fmt: skip


def means(model):
    return np.concatenate([np.mean(w, axis=tuple(range(w.ndim - 1))) for w in model.get_weights()])


@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 4, 2)])
def test_each_output_loses_its_mean(shape):
    weights = RNG.normal(1.0, 1.0, shape).astype("float32")
    expected = np.stack([column - column.mean() for column in weights.reshape(-1, shape[-1]).T], -1).reshape(shape)
    np.testing.assert_allclose(ZeroMean()(weights), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 1, 3)])
def test_a_single_weight_has_no_mean_to_lose(shape):
    with pytest.raises(ValueError, match="two weights or more for each output.*shape"):
        ZeroMean()(np.ones(shape, "float32"))


def test_calibration_meets_the_constraint_first():
    model = network()
    assert np.abs(means(model)).max() > 1e-3
    images = RNG.uniform(-1, 1, (8, 8, 8, 2)).astype("float32")
    done = ksbp.calibrate(model, images, 0.25, output_std=0.7)
    np.testing.assert_allclose(means(model), 0.0, atol=1e-6)
    assert [layer.rate for layer in done] == pytest.approx([0.25] * 3, rel=0.05)


def test_calibration_that_fails_leaves_all_weights_as_they_were():
    model = network()
    before = model.get_weights()
    with pytest.raises(ValueError, match="cannot be brought to `firing_rate`"):
        ksbp.calibrate(model, np.zeros((4, 8, 8, 2), "float32"), 0.25)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_calibration_touches_the_named_layers_only():
    model = network()
    before = model.get_weights()
    ksbp.calibrate(model, RNG.uniform(-1, 1, (8, 8, 8, 2)).astype("float32"), {"conv1": 0.2})
    changed = [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [True, False, False, False]


def test_a_constraint_that_would_undo_the_calibration_is_refused():
    images = RNG.uniform(-1, 1, (8, 8, 8, 2)).astype("float32")
    model = ksbp.models.spiking_vgg((8, 8, 2), 4, [(8, 3)], [], num_steps=8, kernel_constraint="unit_norm", seed=0)
    before = model.get_weights()
    with pytest.raises(ValueError, match="conv1.*UnitNorm.* would undo the scaling"):
        ksbp.calibrate(model, images, 0.25)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_reaches_all_synapses_of_a_residual_network():
    model = ksbp.models.spiking_resnet(
        (8, 8, 2), 4, blocks=[(8, 2), (8, 1)], dense_units=[12], num_steps=5, stem_filters=4, seed=0,
        kernel_constraint=ZeroMean(),
    )  # fmt: skip
    assert len(model.trainable_variables) == 8  # stem, two a block, one shortcut, fc1, readout
    assert {type(variable.constraint) for variable in model.trainable_variables} == {ZeroMean}


@pytest.mark.parametrize("policy", [None, "mixed_bfloat16"])
def test_fit_keeps_the_mean_and_a_saved_network_keeps_the_constraint(policy, tmp_path):
    images, labels = noisy_patterns(64)
    model = ksbp.models.spiking_vgg(
        (8, 8, 2), 4, [(8, 3)], [16], num_steps=6, kernel_constraint=ZeroMean(), policy=policy,
        seed=0,
    )  # fmt: skip
    model.save(tmp_path / "model.keras")
    for trained in (model, keras.saving.load_model(tmp_path / "model.keras")):
        before = [keras.ops.convert_to_numpy(ZeroMean()(w)) for w in trained.get_weights()]
        trained.compile(keras.optimizers.Adam(0.01), loss=ksbp.losses.SparseSumSquaredError())
        trained.fit(images, labels, epochs=2, batch_size=16, verbose=0)
        np.testing.assert_allclose(means(trained), 0.0, atol=1e-6)
        assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(before, trained.get_weights(), strict=True))
