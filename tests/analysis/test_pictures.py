"""The pictures draw what the tables say (that they look well is judged by eye)."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt

import keras_spiking_bp as ksbp
from keras_spiking_bp import analysis
from keras_spiking_bp.rnn.observe import traces


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def setting():
    cell = ksbp.models.spiking_vgg(
        (8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, encoder=None, seed=0, preset="paper"
    )
    spikes = np.random.default_rng(0).integers(0, 2, (5, 10, 8, 8, 1)).astype("float32")
    return cell, spikes, analysis.run(cell, spikes, np.arange(5) % 3, verbose=0)


def test_bars_are_as_long_as_the_figures(setting):
    done = setting[-1]
    table = analysis.activity(done)
    widths = [bar.get_width() for bar in table.plot().patches]
    assert widths == [row["firing_rate"] for row in table.rows[:-1]]
    energy = analysis.energy(done)
    drawn = [bar.get_width() for bar in energy.plot().patches]
    assert drawn == [row["energy_nj"] for row in energy.rows] + [row["ann_energy_nj"] for row in energy.rows]
    operations = analysis.operations(done)
    assert operations.plot().patches[0].get_width() == operations.rows[0]["accumulates"]


def test_raster_has_a_mark_for_each_spike_and_traces_are_potentials(setting):
    model, spikes, _ = setting
    found = traces(model, spikes[1:2])
    axis = analysis.pictures.raster(model, spikes, sample=1, neurons=1000)
    trains = [of["spikes"][0].reshape(10, -1) for of in found.values() if "spikes" in of]
    for collection, spikes_of_layer in zip(axis.collections, trains, strict=True):
        marks = [tuple(segment[0]) for segment in collection.get_segments()]  # time, and the lower end
        rows = np.unique([row for _, row in marks], return_inverse=True)[1]  # of the neurons that fire
        active = np.flatnonzero(spikes_of_layer.any(0))
        expected = {(step + 1, row) for row, n in enumerate(active) for step in np.flatnonzero(spikes_of_layer[:, n])}
        assert {(int(step), int(row)) for (step, _), row in zip(marks, rows, strict=True)} == expected
        assert len(marks) == len(expected)
    axis = analysis.pictures.membranes(model, spikes, "readout", sample=1, neurons=1)
    potentials = found["readout"]["membrane"][0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), potentials[:, potentials[-1].argmax()], rtol=1e-6)


def test_given_axes_are_drawn_on_and_keep_their_style(setting):
    model, spikes, done = setting
    pictures = analysis.pictures
    of_the_caller = {"axes.titlesize": 31, "axes.titlelocation": "center"}
    for draw in (
        lambda axis: pictures.raster(model, spikes, axis=axis),
        lambda axis: pictures.membranes(model, spikes, "readout", axis=axis),
        lambda axis: analysis.activity(done).plot(axis=axis),
        lambda axis: analysis.operations(done).plot(axis=axis),
        lambda axis: analysis.energy(done).plot(axis=axis),
    ):
        with matplotlib.rc_context(of_the_caller):
            given = plt.figure().subplots()
            assert draw(given) is given and given.has_data()
        assert given.get_title() and given.title.get_fontsize() == 31
    for draw in (analysis.accuracy_over_time(done).plot, analysis.compare({"a": done}).plot):
        with matplotlib.rc_context(of_the_caller):
            given = plt.figure().subplots(1, 2)
            assert tuple(draw(axes=given)) == tuple(given) and given[0].has_data() and given[1].has_data()
        assert given[0].get_title() and given[0].title.get_fontsize() == 31


def test_bad_input_is_refused(setting):
    model, spikes, _ = setting
    with pytest.raises(ValueError, match="`layer` must be one of .*'conv1'"):
        analysis.pictures.membranes(model, spikes, "conv9")
