"""The table of cells names every layer and adds up."""

import re

import keras
import pytest

import keras_spiking_bp as ksbp


def lines_of(model):
    lines = []
    ksbp.summary(model, print_fn=lines.append)
    return lines


def test_a_residual_network():
    model = ksbp.models.spiking_resnet(
        (12, 12, 2), 4, [(6, 1), (6, 2), (8, 2)], [16], num_steps=5, dropout=0.25, preset="paper"
    )
    lines = lines_of(model)
    rows = {line.split()[0]: line for line in lines[2:]}
    names = "stem pool1 block1_body block3_junction block3_junction_shortcut flatten fc1 readout"
    assert set(names.split()) <= rows.keys()
    assert "LIF 0.99, threshold 1, dropout 0.25" in rows["fc1"]
    assert re.search(r"Conv2D 3x3/2, 8 \+ block3_junction_shortcut .*2x2x8", rows["block3_junction"])
    assert "AveragePooling2D 1x1/2" in next(line for line in lines if "AveragePooling2D 1x1" in line)
    weights, neurons = (int(n.replace(",", "")) for n in rows["total"].split()[1:])
    assert weights == model.count_params()
    stem_and_pool, blocks = (144 + 36) * 64, (36 + 36) * 6 + (36 + 9) * 6 + (9 + 4) * 8
    assert neurons == stem_and_pool + blocks + 16 + 4
    assert len({len(line) for line in lines}) == 1  # columns line up


def test_networks_inside_of_models():
    """In a sequential model, in one in one, and in a subclassed one, which calls it twice."""
    inner = ksbp.models.spiking_vgg((8, 8, 1), 3, [(4, 3)], [], num_steps=4, preset="paper")
    expected = lines_of(inner)

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.again = inner, keras.Sequential([inner])

        def call(self, inputs):
            return self.inner(inputs)

    once = keras.Sequential([keras.Input((8, 8, 1)), inner])
    for model in (once, keras.Sequential([keras.Input((8, 8, 1)), once]), Subclassed()):
        assert lines_of(model) == expected


def test_normalization_and_pooling_without_neurons():
    def rows(pooling):
        model = ksbp.models.spiking_vgg(
            (8, 8, 1), 3, [(4, 3), "pool"], [], normalization="batch", pooling=pooling, threshold=2.0,
            initial_membrane=0.5, preset="paper",
        )  # fmt: skip
        return {line.split()[0]: line for line in lines_of(model)[2:]}, model

    averages, model = rows("average")
    assert "LIF 0.99, threshold 2, starts at 1 " in averages["conv1"]
    assert "Conv2D 3x3, 4 + BatchNormalization" in averages["conv1"]
    assert "AveragePooling2D 2x2" in averages["pool1"] and averages["pool1"].split()[-1] == "0"
    assert int(averages["total"].split()[1]) == model.count_params()
    assert "maximum of spikes" in rows("max")[0]["pool1"]
    assert "IF, threshold 0.75, starts at 0.375" in rows("neuron")[0]["pool1"]


def test_shared_weights_are_once_in_the_total():
    shared = keras.layers.Dense(4)
    cells = [ksbp.LIFCell(shared, name="a"), ksbp.LIFCell(shared, name="b"), ksbp.ReadoutCell(keras.layers.Dense(2))]
    model = keras.Sequential([keras.Input((5, 4)), ksbp.SpikingRNN(ksbp.SequentialCell(cells))])
    rows = {line.split()[0]: line.split()[-2] for line in lines_of(model)[2:]}
    assert rows["a"] == rows["b"] == "20" and rows["total"] == str(model.count_params()) == "30"


def test_what_has_no_table_is_refused():
    with pytest.raises(ValueError, match="built"):
        ksbp.summary(ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(2))))
    with pytest.raises(TypeError, match="SpikingRNN"):
        ksbp.summary(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
