"""The losses against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp import losses

RNG = np.random.default_rng(0)
PREDICTIONS = RNG.normal(size=(5, 3)).astype("float32")
LABELS = np.array([0, 2, 1, 1, 0])
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
EXPECTED = ((PREDICTIONS - ONE_HOT) ** 2).sum()


def test_sum_over_classes_and_batch():
    np.testing.assert_allclose(losses.SumSquaredError()(ONE_HOT, PREDICTIONS), EXPECTED, rtol=1e-6)
    for labels in (LABELS, LABELS[:, None].astype("float32")):
        np.testing.assert_allclose(losses.SparseSumSquaredError()(labels, PREDICTIONS), EXPECTED, rtol=1e-6)


def test_shapes_that_differ_are_not_broadcast():
    for true, predicted in (((1, 3), (4, 3)), ((2, 1, 3), (2, 5, 3))):
        with pytest.raises(ValueError, match=r"`y_true` must be .*of the shape of y_pred"):
            losses.SumSquaredError()(np.zeros(true), np.ones(predicted))
    assert float(losses.SumSquaredError()(np.zeros((2, 5, 3)), np.ones((2, 5, 3)))) == 30.0
    unknown = tf.function(losses.SumSquaredError(), input_signature=[tf.TensorSpec((None, None))] * 2)
    assert float(unknown(tf.zeros((4, 3)), tf.ones((4, 3)))) == 12.0
    for shape in ((4, 1), (1, 3)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true` must be .*of the shape of y_pred"):
            unknown(tf.zeros(shape), tf.ones((4, 3)))


@pytest.mark.parametrize("label", [-1, 3, 0.7])
def test_wrong_labels_are_refused(label):
    compute = tf.function(losses.SparseSumSquaredError())
    with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true` must hold integer labels from 0 to 2"):
        compute(tf.constant([0, label]), tf.zeros((2, 3)))
    assert np.isfinite(compute(tf.constant([0.0, 1.0]), tf.zeros((2, 3))))


@pytest.mark.parametrize("label", [3, 0.5])
def test_wrong_labels_make_the_loss_nan_under_xla(label):
    """It leaves the checks out."""
    compute = tf.function(losses.SparseSumSquaredError(), jit_compile=True)
    assert np.isnan(compute(tf.constant([0, label]), tf.zeros((2, 3))))
    assert np.isfinite(compute(tf.cast([0, 2], tf.constant(label).dtype), tf.zeros((2, 3))))


EACH_STEP = np.zeros((5, 4, 3), "float32")


@pytest.mark.parametrize("loss", [losses.SumSquaredError, losses.SparseSumSquaredError])
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "none"])
def test_reduction_and_name(loss, reduction):
    made = loss(reduction=reduction, name="mine", dtype="float64")
    targets = ONE_HOT if loss is losses.SumSquaredError else LABELS
    each = np.asarray(loss(reduction="none")(targets, PREDICTIONS))
    reduce = {"sum": np.sum, "sum_over_batch_size": np.mean, "none": np.asarray}[reduction]
    found = made(targets, PREDICTIONS)
    np.testing.assert_allclose(found, reduce(each), rtol=1e-6)
    assert (made.name, made.dtype, each.shape) == ("mine", "float64", (5,))


def test_one_output():
    """Numbers (B,) as well as (B, 1), as Keras' own losses; labels are refused, as there is one class only."""
    outputs, targets = np.array([[0.5], [2.0]], "float32"), np.array([1.0, -1.0], "float32")
    for given in (targets, targets[:, None]):
        assert float(losses.SumSquaredError()(given, outputs)) == 0.25 + 9.0
    each_step = np.arange(6, dtype="float32").reshape(2, 3, 1)
    assert float(losses.SumSquaredError()(each_step[..., 0] - 1, each_step)) == 6.0  # numbers of each step
    labels = np.tile(LABELS[:, None], (1, 4))  # those of each step
    assert losses.SparseSumSquaredError()(labels, EACH_STEP).numpy() == labels.size


def test_nan_in_targets_is_refused():
    targets = ONE_HOT.copy()
    targets[2] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true` of 'sum_squared_error' has NaN or infinity"):
        losses.SumSquaredError()(targets, PREDICTIONS)


@pytest.mark.parametrize(("make", "labels", "outputs", "message"), [
    (losses.SumSquaredError, LABELS, PREDICTIONS, "`y_true` must be numbers or one-hot.*SparseSumSquaredError"),
    (losses.SumSquaredError, np.eye(2), np.ones((2, 1)), r"of the shape of y_pred \(2, 1\).*\(2, 2\)"),
    (losses.SumSquaredError, ONE_HOT, EACH_STEP, r"of the shape of y_pred \(5, 4, 3\)"),
    (losses.SparseSumSquaredError, LABELS, EACH_STEP, "`y_true` must be integer labels"),
    (losses.SparseSumSquaredError, ONE_HOT, PREDICTIONS, "`y_true` must be integer labels.*use SumSquaredError"),
    (losses.SparseSumSquaredError, LABELS, np.ones((5, 1)), "`y_pred` must have at least two outputs"),
])  # fmt: skip
def test_bad_arguments_labels_and_outputs(make, labels, outputs, message):
    with pytest.raises(ValueError, match=message):
        make()(labels, outputs)
