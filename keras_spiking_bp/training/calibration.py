"""Scales the weights of a network on sample data, so that each layer fires before training begins."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.batch_norm import learning_normalizations, untouched
from keras_spiking_bp.cells.walk import checked_names
from keras_spiking_bp.rnn.derivative import take_statistics
from keras_spiking_bp.rnn.encoded_inputs import Encoded, encode
from keras_spiking_bp.rnn.observe import Activity, activity_of, firing_rates
from keras_spiking_bp.rnn.spiking_model import input_over_time, spiking_layer
from keras_spiking_bp.training.scalable_weights import last_weights_of, sources_of, weights_of
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.validation import check_finite_weights, check_fraction, check_positive, named

_FACTORS = (2.0**-8, 2.0**8)  # bounds of the factor on the weights of a layer
_TRIALS = 20


@dataclasses.dataclass(frozen=True)
class CalibratedLayer:
    """What `calibrate` did to one layer.

    Attributes:
        name: name of the cell.
        factor: what its weights were multiplied by; with batch normalisation at its end, gamma and beta.
        rate_before: spikes per neuron and step with the preceding layers scaled, its own weights not.
        rate: the same after scaling.
    """

    name: str
    factor: float
    rate_before: float
    rate: float


def calibrate(
    model: keras.Model,
    inputs: Any,
    firing_rate: float | Mapping[str, float] = 0.1,
    output_std: float | None = None,
    tolerance: float = 0.05,
    verbose: int = 0,
) -> list[CalibratedLayer]:
    """Scales the weights of each layer, first to last, until its neurons fire at the chosen rate on average.

    Neurons start at rest, those of a stateful layer too. With the paper's initial weights a deep spiking network has
    low firing rates: with few time steps its last layers are dead, and the paper's derivative of a dead layer is 0.
    The factor is found by bisection, since the rate grows with it. In a residual block the currents of main path and
    shortcut are scaled alike, if both have trainable weights. Layers without weights (pooling), and frozen ones, are
    unchanged.

    With batch normalisation in synapses, the moving statistics become those of `inputs`, layer by layer, as the
    preceding layers are scaled. Gamma and beta of the last one in a synapse are then scaled: anything before them would
    be normalised again; or, if weights stand behind it, those of the last layer. A frozen one (`trainable = False`) is
    unchanged.

    Args:
        model: a built functional or sequential model with one `SpikingRNN`.
        inputs: sample inputs of the model, (B, ...): about 16 training images are enough; a list or dictionary for
            several inputs, such as sequences and their mask: the rates are then those of the unmasked steps; or some
            batches of a `tf.data.Dataset`, such as `dataset.take(1)`. Encoded once.
        firing_rate: spikes per neuron and time step, above 0 and below 1; one for all layers, or a mapping from cell
            names (other layers are not scaled).
        output_std: target standard deviation of the outputs `V[T] / T` over samples and classes: the weights of the
            readout are scaled to it. None leaves them unchanged. About 0.7 suits a cross-entropy loss: the outputs are
            then logits, and those of a readout with the paper's initial weights hardly differ.
        tolerance: allowed relative deviation from `firing_rate`, between 0 and 1.
        verbose: 1 prints a line for each layer.

    Returns:
        What was done to each layer that was scaled to a `firing_rate`.

    Raises:
        ValueError: if a batch normalisation in front of the `SpikingRNN` has no statistics yet, or a layer cannot reach
            its rate (the error gives the nearest ones) or loses it when later ones are scaled (such as those with the
            same weights). All weights are then restored.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=20, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 1)).astype("float32")
        >>> for layer in calibrate(model, images, firing_rate=0.1):
        ...     print(layer.name, round(layer.rate, 1))
        conv1 0.1
        fc1 0.1
    """
    layer = spiking_layer(model)
    check_finite_weights(model)
    checked_names(layer.cell)
    sources, readout = sources_of(layer.cell), layer.cell.neurons()[-1].name
    spiking = [neuron.name for neuron in layer.cell.neurons() if neuron.has_threshold]
    targets = _targets(firing_rate, [name for name in spiking if weights_of(sources[name])])
    check_fraction("tolerance", tolerance)
    _check_statistics_in_front(model)
    to_scale = {name: weights_of(sources[name]) for name in targets}
    if output_std is not None:
        to_scale[readout] = _readout_weights(layer.cell, sources[readout], output_std)

    spikes = encode(model, inputs)
    observe = activity_of(model)
    normalizations = learning_normalizations(layer.cell)
    one_more = tf.function(lambda x, mask: take_statistics(layer, x, mask), autograph=False)
    constrained = [v for name in to_scale for source in sources[name] for v in source.trainable_weights]
    statistics = [v for norm in normalizations for v in norm.non_trainable_weights]
    with _restored_on_error([*constrained, *statistics]):
        for variable in constrained:
            if variable.constraint is not None:  # as the first step of the optimizer would
                variable.assign(variable.constraint(variable))
        done = []
        for name in sources:
            if normalizations:  # correct for this layer now, since they are for the preceding ones
                one_more(*spikes)
            if name in targets:
                done.append(_to_rate(name, to_scale[name], observe, spikes, targets[name], tolerance))
                if verbose:
                    _say(name, done[-1].factor, "firing rate", done[-1].rate_before, done[-1].rate)
        if normalizations and layer.cell.emits == "spikes":  # layers may stand behind the last neurons
            one_more(*spikes)
        if output_std is not None:
            before, reached = _to_spread(readout, to_scale[readout], observe, spikes, output_std)
            if verbose:
                _say(readout, output_std / before, "output std", before, reached)
        if done:
            _check_kept(done, observe(*spikes), spikes, tolerance)
    return done


def update_statistics(model: keras.Model, inputs: Any) -> None:
    """Sets the moving statistics of batch normalisation in synapses to those of `inputs`, layer by layer.

    They depend on the number of time steps: call it on a network with the weights of one that was trained with
    another, or before a test, with more samples than a batch of the training had.

    Args:
        model: a built functional or sequential model with one `SpikingRNN`.
        inputs: sample inputs of the model, as of `calibrate`; encoded once.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [])
        >>> update_statistics(model, np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 1)).astype("float32"))
    """
    layer = spiking_layer(model)
    check_finite_weights(model)
    _check_statistics_in_front(model)
    tf.function(take_statistics, autograph=False)(layer, *encode(model, inputs))


def _check_statistics_in_front(model: keras.Model) -> None:
    """Rejects a batch normalisation whose outputs will be on another scale in training."""
    missing = [norm for norm in learning_normalizations(input_over_time(model)) if untouched(norm)]
    if missing:
        raise ValueError(
            "`model` must not have a batch normalisation without statistics in front of its SpikingRNN. Received: "
            f"{named(missing[0])}, which passes on its inputs as they are, but will normalise them in training. Train "
            "for some steps first, so that it has statistics"
        )


def _check_kept(done: list[CalibratedLayer], activity: Activity, spikes: Encoded, tolerance: float) -> None:
    """Rejects rates that changed after they were reached: weights or statistics of later layers acted on them."""
    rates = firing_rates(activity, spikes.mean_steps)
    for layer in done:
        if abs(rates[layer.name] - layer.rate) > tolerance * layer.rate:
            raise ValueError(
                f"Layer {layer.name!r} cannot be brought to a `firing_rate`: it had {layer.rate:.3g}, and has "
                f"{rates[layer.name]:.3g} now that later layers are scaled. It, or a layer before it, shares weights "
                "or a batch normalisation with one of these, normalises its own spikes, or has a batch normalisation "
                "without gamma (scale=False) to scale it by: leave it out of `firing_rate`, or set trainable=False of "
                "the normalisation"
            )


@contextlib.contextmanager
def _restored_on_error(variables: list) -> Iterator[None]:
    """Gives the variables their values back if the block fails or is interrupted."""
    before = [(variable, variable.numpy()) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


def _readout_weights(cell: Cell, sources: list[keras.layers.Layer], output_std: float) -> list:
    """The weights that the outputs are in proportion to."""
    check_positive("output_std", output_std)
    if cell.emits == "spikes":
        raise ValueError(
            f"`output_std` needs a network that ends in a ReadoutCell. Received: output_std={output_std!r}"
        )
    return list({id(weight): weight for weight in last_weights_of(sources)}.values())  # two paths may have one layer


def _to_rate(
    name: str, variables: list, observe: Callable, spikes: Encoded, target: float, tolerance: float
) -> CalibratedLayer:
    """Scales the weights of one layer until it fires at about the rate `target`."""
    samples, num_steps = spikes.sequences.shape[:2]
    start = [variable.numpy() for variable in variables]

    def rate_with(factor: float) -> float:
        for variable, value in zip(variables, start, strict=True):
            variable.assign(factor * value)
        return firing_rates(observe(*spikes), spikes.mean_steps)[name]

    rates: dict[float, float] = {}  # by the factor
    low, high = _FACTORS
    factor = 1.0
    for _ in range(_TRIALS):
        rate = rates[factor] = rate_with(factor)
        if abs(rate - target) <= tolerance * target:
            return CalibratedLayer(name, factor, rates[1.0], rate)
        low, high = (factor, high) if rate < target else (low, factor)
        # the first guesses change by factors of 2, since the answer is seldom far
        near = min(high, 2 * factor) if rate < target else max(low, factor / 2)
        factor = float(np.sqrt(low * high)) if {low, high} <= rates.keys() else near
        if factor in rates:  # a bound of the allowed range
            break
    nearest = sorted(rates.items(), key=lambda item: abs(item[1] - target))[:2]
    tried = ", ".join(f"{rate:.3g} with its weights times {factor:.4g}" for factor, rate in nearest)
    raise ValueError(
        f"Layer {name!r} cannot be brought to `firing_rate` {target}: it fires at {tried} (rates of {num_steps} time "
        f"steps and {samples} samples). Choose a rate that it has, by firing_rate={{{name!r}: ...}} for this layer "
        "alone, or give other `inputs`, with spikes"
    )


def _to_spread(name: str, variables: list, observe: Callable, spikes: Encoded, target: float) -> tuple[float, float]:
    """Scales the weights of the readout; the standard deviation of its outputs before and after."""

    def spread() -> float:
        potentials = observe(*spikes)[name]["membrane"]
        return float(tf.math.reduce_std(potentials / per_sample(tf.maximum(spikes.num_steps, 1.0), potentials)))

    std = spread()
    if std == 0:
        raise ValueError(f"`output_std` cannot be reached: the readout {name!r} gives the same for all samples")
    for variable in variables:
        variable.assign(target / std * variable)
    reached = spread()
    if abs(reached / target - 1) > 0.05:  # not the rounding of bfloat16
        raise ValueError(
            f"`output_std` cannot be reached: with the last weights before the readout {name!r} times "
            f"{target / std:.3g}, its outputs have the standard deviation {reached:.3g}, since they are not in "
            f"proportion to these weights. Received: output_std={target!r}"
        )
    return std, reached


def _say(name: str, factor: float, quantity: str, before: float, after: float) -> None:
    print(f"{name}: weights x {factor:.3f}, {quantity} {before:.4f} -> {after:.4f}", flush=True)


def _targets(firing_rate: float | Mapping[str, float], scaled: list[str]) -> dict[str, float]:
    """The rate of each layer to scale; `scaled` are those that can be."""
    if isinstance(firing_rate, Mapping):
        unknown = sorted(set(firing_rate) - set(scaled))
        if unknown:
            raise ValueError(
                f"`firing_rate` must name spiking layers with trainable weights, {scaled}. Received: {unknown} besides"
            )
        targets = {name: firing_rate[name] for name in scaled if name in firing_rate}
    else:
        targets = dict.fromkeys(scaled, firing_rate)
    for name, target in targets.items():
        check_fraction("firing_rate" if target is firing_rate else f"firing_rate[{name!r}]", target)
    return targets
