"""LIF neurons with the kernels, one step or all of a block, including their record."""

from typing import Any

import tensorflow as tf

from keras_spiking_bp.gradients.surrogates import Triangle
from keras_spiking_bp.kernels.switch import usable

#: State entries that the kernel updates besides the membrane potential.
_STATES = ("spike_count", "silence", "leaky_trace")
#: And those that it updates for a triangle as the surrogate, which it computes too.
_SLOPES = ("slope_sum", "eligibility")
_TYPES = (tf.float32, tf.bfloat16)


def lif_step(
    state: dict[str, tf.Tensor],
    current: tf.Tensor,
    spikes_type: str,
    beta: Any,
    threshold: Any,
    resets_to_zero: bool,
    synaptic_beta: Any,
    surrogate: Any,
    num_steps: int = 1,
    signed: bool = False,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]] | None:
    """The spikes of a step (or of several, folded into the batch) and the state after; None if the kernels are off or
    not applicable. `current` is that of all steps, or one that is the same at all of them.

    Only in training (`switch.in_training`), for states with a record and no `slot`: the gradient must not go through
    the loop. The parameters must be numbers, the same for all neurons.
    """
    numbers = all(
        isinstance(value, float) for value in (beta, threshold, 1.0 if synaptic_beta is None else synaptic_beta)
    )
    spikes_type = tf.as_dtype("float32" if "keep" in state else spikes_type)
    if (
        not numbers
        or "spike_count" not in state
        or not state.keys().isdisjoint(("drive", "fed_back", "fired", "slot"))
        or current.dtype not in _TYPES
        or spikes_type not in _TYPES
    ):
        return None
    library = usable()
    if library is None:
        return None
    slopes = "slope_sum" in state
    triangle = surrogate if slopes and type(surrogate) is Triangle else None
    if slopes and not triangle and num_steps > 1:
        return None
    names = [name for name in (*_STATES, *(_SLOPES if triangle else ())) if name in state]
    if synaptic_beta is not None:  # else a `current` is a further state of the user's cell
        names.append("current")
    if signed:
        names.append("net_count")
    shared = {"beta": beta, "threshold": threshold, "resets_to_zero": resets_to_zero}
    spikes, membrane, states, potential = library.keras_spiking_bp_lif_step(
        membrane=state["membrane"],
        current=current,
        states=[state[name] for name in names],
        names=names,
        spikes_type=spikes_type,
        potentials=int(slopes and not triangle),
        steps=num_steps,
        synaptic_beta=1.0 if synaptic_beta is None else synaptic_beta,
        **({"height": triangle.height, "fall": triangle.fall} if triangle else {}),
        **shared,
    )
    new = {**state, "membrane": membrane, **dict(zip(names, states, strict=True))}
    if slopes and not triangle:
        new["slope_sum"], new["eligibility"] = library.keras_spiking_bp_eligibility_step(
            slope=surrogate(potential[0] - threshold),
            potential=potential[0],
            slope_sum=state["slope_sum"],
            carried=state["eligibility"],
            **shared,
        )
    return spikes, new
