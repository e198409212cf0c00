"""The recipes are those of the paper, and reach the network and the optimizer."""

import dataclasses

import pytest

import keras_spiking_bp as ksbp
from examples.experiments.recipes import DEEP, FAST, PAPER, recipe


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


def test_refused():
    own = recipe("lenet", "mnist")
    for change in ({"network": "lenett"}, {"drop_epochs": (10, 10)}):
        with pytest.raises(ValueError, match=f"`{next(iter(change))}` must be"):
            dataclasses.replace(own, **change)
    with pytest.raises(ValueError, match="'vgg16'"):
        recipe("vgg16", "mnist")
