"""Firing rates, spike rasters and membrane potentials for TensorBoard."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import MaxPoolingCell
from keras_spiking_bp.rnn.encoded_inputs import repeatable_encoder
from keras_spiking_bp.rnn.observe import activity_of, firing_rates, traces_of_spikes
from keras_spiking_bp.rnn.spiking_model import spiking_layer

_PIXELS = 4  # side of the square that shows a spike


class SpikingTensorBoard(keras.callbacks.Callback):
    """Writes neuron activity on sample inputs during `fit`: of the untrained network, and after each `every`-th epoch.

    * scalars `firing_rate/LAYER`: spikes per neuron and time step, over all samples;
    * images `raster/LAYER`: the spikes of the first sample, a row for each neuron, time to the right;
    * histograms `membrane/LAYER`: the membrane potentials of the first sample, over all neurons and steps.

    Use it beside `keras.callbacks.TensorBoard`, which writes loss and metrics; give both the same folder. In a search
    of KerasTuner all trials write into this one folder.

    Args:
        log_dir: folder for the logs; they go to its subfolder `neurons`.
        inputs: sample inputs of the model, as of `Health`: training is the same with and without the callback.
        every: epochs between two records.
        neurons: maximum number per layer in its raster, evenly spread over the layer.

    Example:
        >>> board = callbacks.SpikingTensorBoard("logs", np.ones((8, 4, 4, 1), "float32"))  # for fit(callbacks=[board])
    """

    def __init__(self, log_dir: str | os.PathLike, inputs: Any, every: int = 1, neurons: int = 64):
        super().__init__()
        import tensorboard  # noqa: F401 - tf.summary writes by it

        self.log_dir = os.fspath(log_dir)
        self.every = every
        self.neurons = neurons
        self._inputs = inputs

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        cells = spiking_layer(self.model).cell.neurons()
        self._without_potential = {cell.name for cell in cells if isinstance(cell, MaxPoolingCell)}
        self._encoding = repeatable_encoder(self.model, self._inputs)
        self._observe = activity_of(self.model)
        self._writer = tf.summary.create_file_writer(os.path.join(self.log_dir, "neurons"))
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # of a LossScaleOptimizer
        self._untrained = int(tf.convert_to_tensor(optimizer.iterations)) == 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch == 0 and self._untrained:  # not in a training that goes on, with the same optimizer or another
            self._write(0)
        self._untrained = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every == 0:
            self._write(epoch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.close()

    def _write(self, step: int) -> None:
        spikes = self._encoding()
        rates = firing_rates(self._observe(*spikes), spikes.mean_steps)
        first = (None if values is None else values[:1] for values in spikes)
        # whatever keras.callbacks.TensorBoard(update_freq=...) leaves out
        with tf.summary.record_if(True), self._writer.as_default(step=step):
            for name, rate in rates.items():
                tf.summary.scalar(f"firing_rate/{name}", rate)
            for name, trace in traces_of_spikes(self.model, *first).items():
                if name not in self._without_potential:
                    tf.summary.histogram(f"membrane/{name}", trace["membrane"])
                if "spikes" in trace:
                    tf.summary.image(f"raster/{name}", self._raster(trace["spikes"][0])[None])
        self._writer.flush()

    def _raster(self, spikes: np.ndarray) -> np.ndarray:
        """Spikes (T, ...), of 1 and -1, as a picture, black on white, uint8 (rows, columns, 1)."""
        flat = np.abs(spikes.reshape(len(spikes), -1))
        shown = flat[:, np.unique(np.linspace(0, flat.shape[1] - 1, self.neurons).astype(int))].T
        return (255 * (1 - np.kron(shown, np.ones((_PIXELS, _PIXELS)))))[..., None].astype("uint8")
