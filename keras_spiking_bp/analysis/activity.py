"""How much each layer fires."""

from typing import Any

import keras

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.rnn.connections import INPUT


class Activity(Table):
    """Spikes of each layer; the last row is the whole network (without the input)."""

    plot = pictures.firing_rates


def activity(model: keras.Model | Run, data: Any = None, batch_size: int = 50, verbose: int = 1) -> Activity:
    """How much each layer of a spiking network fires on `data`.

    Args:
        model: a built model with one `SpikingRNN`, or the result of `analysis.run`.
        data, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for the input (if it is spikes), each layer of neurons and `"total"`:

        * `layer`, `neurons`;
        * `spikes`: per sample, over all time steps;
        * `spikes_per_neuron`: per sample;
        * `firing_rate`: spikes per neuron and time step;
        * `silent`: share of dead neurons, which fired for no sample;
        * `saturated`: share of samples and neurons with a spike in more than 90 % of the steps.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> table = analysis.activity(model, images, verbose=0)
        >>> [row["layer"] for row in table.rows]
        ['conv1', 'fc1', 'total']
    """
    done = as_run(model, data, None, batch_size, verbose, labelled=False)
    rows = [
        _row(name, neurons, float(done.spikes[name].sum(1).mean()), done.mean_steps)
        | {"silent": done.silent.get(name), "saturated": done.saturated.get(name)}
        for name, neurons in done.neurons.items()
    ]
    inner = [row for row in rows if row["layer"] != INPUT]
    neurons = sum(row["neurons"] for row in inner)
    total = _row("total", neurons, sum(row["spikes"] for row in inner), done.mean_steps)
    for name in ("silent", "saturated"):
        total[name] = sum(row[name] * row["neurons"] for row in inner) / neurons
    return Activity([*rows, total])


def _row(layer: str, neurons: int, spikes: float, num_steps: float) -> dict[str, Any]:
    return {
        "layer": layer,
        "neurons": neurons,
        "spikes": spikes,
        "spikes_per_neuron": spikes / neurons,
        "firing_rate": spikes / neurons / num_steps,
    }
