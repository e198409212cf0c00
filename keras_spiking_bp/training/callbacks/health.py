"""Reports unhealthy layers during training."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.cells.batch_norm import learning_normalizations, untouched
from keras_spiking_bp.cells.walk import current_sources
from keras_spiking_bp.rnn.encoded_inputs import repeatable_encoder
from keras_spiking_bp.rnn.observe import SATURATED_RATE, activity_of, firing_rates
from keras_spiking_bp.rnn.spiking_model import spiking_layer
from keras_spiking_bp.utils.broadcasting import per_sample

_SILENT_SHARE = 0.99
_SATURATED_SHARE = 0.5


class Health(keras.callbacks.Callback):
    """Warns of dead and saturated layers of a spiking network during `fit`, with a remedy for each.

    On sample inputs, before the first batch, after every `every` batches and after each epoch (the first time after an
    epoch, if a batch normalisation has no statistics yet):

    * a layer is silent (dead) if more than 99 % of its neurons fire for no sample: with the paper's derivative no
      gradient passes it, and it rarely recovers;
    * a layer is saturated if more than half of its neurons fire in more than 90 % of the steps: its output no longer
      depends on its input (max pooling is not looked at);
    * currents overflow, as above 65504 in float16, if a potential is NaN or infinite: spikes, outputs and loss stay
      finite numbers, but wrong.

    It also warns of a cross-entropy of Keras without `from_logits=True`, for probabilities, where the outputs are the
    potentials of a readout. Each finding is a `RuntimeWarning`, once per layer of a model. NaN in the loss or the
    weights stops training; the warning names the layers.

    Args:
        inputs: sample inputs of the model, as of `calibrate`. Encoded once, or at each check if layers before the
            `SpikingRNN` learn; the random stream of the encoder is restored, so that training is the same with and
            without the callback.
        every: number of batches between two checks.

    Attributes:
        firing_rates: spikes per neuron and step of each layer at the last check.

    Example:
        >>> model = models.spiking_vgg((4, 4, 1), 2, [(4, 3)], [], num_steps=10, seed=0)
        >>> model.compile(keras.optimizers.SGD(0.01), losses.SparseSumSquaredError())
        >>> x, y = np.ones((8, 4, 4, 1), "float32"), np.zeros(8, "int32")
        >>> health = callbacks.Health(x)
        >>> _ = model.fit(x, y, verbose=0, callbacks=[health])
        >>> list(health.firing_rates)
        ['conv1']
    """

    def __init__(self, inputs: Any, every: int = 100):
        super().__init__()
        self.every = every
        self.firing_rates: dict[str, float] = {}
        self._inputs = inputs
        self._said: set[tuple[str, str]] = set()
        self._said_of: keras.Model | None = None
        self._batches = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._stopped = False
        if self._said_of is not self.model:
            self._said, self._said_of = set(), self.model
        self._encoding = repeatable_encoder(self.model, self._inputs)
        layer = spiking_layer(self.model)
        ends = self.model.outputs[0]._keras_history.operation is layer and layer.cell.emits == "potential"
        if ends and _takes_probabilities(self.model.loss):
            self._say(
                "probabilities", layer.name,
                f"The loss takes probabilities, and the outputs of {layer.name!r} are potentials, which it takes for "
                "logits with from_logits=True, such as keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
            )  # fmt: skip
        self._observe = activity_of(self.model)
        self._with_threshold = {neuron.name for neuron in layer.cell.neurons() if neuron.has_threshold}
        self._layers = {
            id(v): neuron.name
            for neuron, before in zip(layer.cell.neurons(), current_sources(layer.cell), strict=True)
            for part in (*before, neuron)
            for v in part.trainable_weights
        }
        # until its statistics follow the data, a network says nothing about its later activity
        self._waits = any(map(untouched, learning_normalizations(layer.cell)))
        if not self._waits:
            self._look()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            self._stop_for_nan(f"the loss is {loss} after batch {batch + 1}")
        elif not self._waits and (batch + 1) // self.every > self._batches // self.every:  # Keras may leave batches out
            self._look()
        self._batches = batch + 1

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._waits = False
        self._look()

    def _look(self) -> None:
        if self._not_finite():
            self._stop_for_nan("weights are no numbers any more")
            return
        spikes = self._encoding()
        activity = self._observe(*spikes)
        num_steps, of_samples = spikes.sequences.shape[1], spikes.num_steps
        self.firing_rates = firing_rates(activity, spikes.mean_steps)
        for name in self.firing_rates:
            count = activity[name]["spike_count"]
            saturated = (count > SATURATED_RATE * per_sample(of_samples, count)).numpy().mean()
            count = count.numpy()
            neurons, samples = count[0].size, len(count)
            silent = (count.max(0) == 0).mean()
            if not np.isfinite(activity[name]["membrane"]).all():  # its spikes are finite all the same
                self._say(
                    "overflow", name,
                    f"Layer {name!r} has potentials that are NaN or infinite: its currents exceed the dtype of its "
                    "synapse (65504 in float16). Give the synapse dtype='mixed_bfloat16', or smaller weights",
                )  # fmt: skip
            elif silent > _SILENT_SHARE:
                self._say(
                    "silent", name,
                    f"Layer {name!r} is silent: {silent:.1%} of its {neurons} neurons fire for none of {samples} "
                    f"samples in {num_steps} time steps, so with the paper's derivative no gradient passes through it. "
                    "Before training, scale the weights with keras_spiking_bp.calibrate, or take more time steps; if "
                    "it fell silent in training, start again with a smaller learning rate",
                )  # fmt: skip
            elif saturated > _SATURATED_SHARE and name in self._with_threshold:
                self._say(
                    "saturated", name,
                    f"Layer {name!r} is saturated: {saturated:.1%} of its neurons fire in more than "
                    f"{SATURATED_RATE:.0%} of the time steps. Start again with a smaller learning rate, a penalty that "
                    "holds the rates (activity_regularizer=regularizers.FiringRate(), surrogate='bounded'), or smaller "
                    "weights (keras_spiking_bp.calibrate)",
                )  # fmt: skip

    def _say(self, problem: str, name: str, text: str) -> None:
        if (problem, name) not in self._said:
            self._said.add((problem, name))
            _warn(text)

    def _not_finite(self) -> list[str]:
        """The layers of neurons with NaN or infinity in their weights, and other such weights."""
        found = [v for v in self.model.trainable_variables if not np.isfinite(v.numpy()).all()]
        return list(dict.fromkeys(self._layers.get(id(v), v.path) for v in found))

    def _stop_for_nan(self, what: str) -> None:
        if self._stopped:
            return
        found = self._not_finite()
        where = f"Weights with NaN or infinity: {found}. " if found else "The weights are still finite. "
        _warn(
            f"Training is stopped: {what}. {where}Use a smaller learning rate or `clipnorm`, and look for NaN in the "
            "data"
        )
        self._stopped = self.model.stop_training = True


def _takes_probabilities(loss: Any) -> bool:
    """Whether it is a cross-entropy of Keras without `from_logits`."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if isinstance(loss, keras.losses.Loss):
        return getattr(loss, "from_logits", True) is False
    return "crossentropy" in getattr(loss, "__name__", "") and loss.__module__.startswith("keras.")


def _warn(text: str) -> None:
    """Also if the same was said of another model: `warnings.warn` shows a text once."""
    warnings.warn_explicit(text, RuntimeWarning, __file__, _warn.__code__.co_firstlineno, __name__)
