"""The recipes are those of the paper, and reach the network and the optimizer."""

import dataclasses

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples.experiments.recipes import DEEP, FAST, PAPER, recipe


@pytest.mark.parametrize(
    ("pair", "rate", "batch", "epochs", "drops", "dropout", "kappa"),
    [  # the paper, section 3
        (("lenet", "mnist"), 0.0085, 64, 125, (75,), 0.0, 2.0),
        (("vgg9", "cifar10"), 0.0033, 16, 150, (70, 100, 125), 0.2, 2.0),
        (("resnet11", "cifar10"), 0.0025, 16, 150, (70, 100, 125), 0.25, 1.0),
    ],
)
def test_the_papers(pair, rate, batch, epochs, drops, dropout, kappa):
    own = recipe(*pair, "paper")
    assert (own.learning_rate, own.batch_size, own.epochs, own.drop_epochs) == (rate, batch, epochs, drops)
    assert (own.dropout, own.preset, own.num_steps, own.test_steps) == (dropout, "paper", 100, 100)
    first = own.build((32, 32, 3), 10, 2, seed=0).trainable_variables[0].numpy()
    assert first.std() == pytest.approx(np.sqrt(kappa / first[..., 0].size), rel=0.15)
    assert (own.momentum, own.weight_decay, own.gradient) == (0.0, 5e-4, "bptt")


def test_the_learning_rate_falls_by_5():
    schedule = recipe("vgg9", "cifar10", "paper").schedule(steps_per_epoch=10)
    steps = [0, 699, 700, 1000, 1250]
    np.testing.assert_allclose(
        [float(schedule(step)) for step in steps], 0.0033 / 5.0 ** np.array([0, 0, 1, 2, 3]), rtol=1e-6
    )


@pytest.mark.parametrize(("which", "quarter"), [("fast", 0.1 * (1 + np.sqrt(0.5))), ("deep", 0.15)])
def test_the_learning_rate_falls_to_zero(which, quarter):
    """Along a cosine, or a line."""
    schedule = dataclasses.replace(recipe("lenet", "mnist", which), learning_rate=0.2, epochs=10).schedule(10)
    np.testing.assert_allclose([float(schedule(step)) for step in (0, 25, 100)], [0.2, quarter, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "recipes", [pytest.param(PAPER, marks=pytest.mark.slow), FAST, DEEP], ids=["paper", "fast", "deep"]
)
def test_each_builds_its_network(recipes):
    shapes = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "nmnist": (34, 34, 2)}
    for (network, dataset), own in recipes.items():
        assert (own.network, own.dataset) == (network, dataset)
        model = own.build(shapes.get(dataset, (16, 16, 3)), 10, num_steps=2, seed=0)
        own.compile(model, steps_per_epoch=3)
        assert model.name == f"spiking_{network}"
        time = model.get_layer("time")
        assert time.gradient == own.gradient
        lif = [n for n in time.cell.neurons() if type(n) is ksbp.LIFCell]
        assert {(n.dropout, n.signed) for n in lif} == {(own.dropout, own.signed)}
        if dataset != "nmnist":
            assert model.layers[1].scale == own.scale
        assert model.optimizer.weight_decay == pytest.approx(own.weight_decay)
        assert type(model.optimizer).__name__.lower().startswith(own.optimizer)
        assert own.optimizer != "sgd" or model.optimizer.momentum == own.momentum
        assert isinstance(model.loss, ksbp.losses.SumSquaredError) == (own.loss == "squared")
        assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(own.learning_rate)
        assert model.input_shape == (None, 2, 34, 34, 2) if dataset == "nmnist" else len(model.input_shape) == 4


def test_weight_decay_is_that_of_the_paper():
    """Of plain SGD: w - rate * (gradient + decay * w)."""
    own = dataclasses.replace(recipe("lenet", "mnist", "paper"), weight_decay=0.5, learning_rate=0.1, drop_epochs=(9,))
    model = own.build((8, 8, 1), 3, num_steps=2, seed=0)
    own.compile(model, steps_per_epoch=10)
    before = model.get_weights()
    model.optimizer.build(model.trainable_variables)
    model.optimizer.apply([np.zeros(v.shape, "float32") for v in model.trainable_variables])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(b, a * (1 - 0.1 * 0.5), rtol=1e-5)


def test_smoothed_labels():
    """Cross entropy of logits with the target (1 - s) * one_hot + s / classes, in NumPy."""
    own = dataclasses.replace(recipe("lenet", "mnist"), loss="cross_entropy", label_smoothing=0.2)
    model = own.build((8, 8, 1), 3, num_steps=2, seed=0)
    own.compile(model, steps_per_epoch=1)
    logits = np.array([0.5, -1.0, 2.0])
    log_p = logits - np.log(np.exp(logits).sum())
    target = 0.8 * np.array([0.0, 0.0, 1.0]) + 0.2 / 3
    loss = model.loss(np.float32([[0, 0, 1]]), np.float32([logits]))
    assert float(loss) == pytest.approx(-(target * log_p).sum(), rel=1e-5)


def test_refused():
    own = recipe("lenet", "mnist")
    for change in ({"network": "lenett"}, {"drop_epochs": (10, 10)}):
        with pytest.raises(ValueError, match=f"`{next(iter(change))}` must be"):
            dataclasses.replace(own, **change)
    with pytest.raises(ValueError, match="'vgg16'"):
        recipe("vgg16", "mnist")
