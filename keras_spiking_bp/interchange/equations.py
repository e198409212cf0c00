"""The parameters of neurons in NIR and here, both ways.

NIR describes neurons in continuous time, `tau dv/dt = v_leak - v + r I`; libraries run them by steps of `dt`:

    v <- v + dt / tau * (v_leak - v + r I) = (1 - dt / tau) v + (r dt / tau) I        fire at v > v_threshold

Ours integrate first and leak last: `m <- m + I`, fire at m > threshold, `m <- beta m`. Seen before the leak, m obeys
`m <- beta m + I`, which is the line above with

    LIF: tau = dt / (1 - beta), r = tau / dt           v is our potential at the comparison: the same spikes
    LI:  tau = dt / (1 - beta), r = beta tau / dt      v is the potential V[t] that our readout gives, after the leak
    IF, I (beta = 1): dv/dt = r I, r = 1 / dt
    CubaLIF: tau_mem and r as tau and r of a LIF, tau_syn = dt / (1 - synaptic_beta), w_in = tau_syn / dt

A `CubaLIF` has its own current, `tau_syn dI/dt = w_in S - I`, which is updated before the potential.

Where `gain = r dt / tau` (of a CubaLIF times `w_in dt / tau_syn`) is not 1, v / gain is our potential and v_threshold /
gain our threshold. Other libraries have `r = 1` for an IF whose step adds I, whatever dt is; snnTorch writes tau and r
of infinity for a neuron without leak. A `v_leak` of a LIF is in our units a current of `v_leak / r`. A `Threshold`
remembers nothing: here a neuron whose decay leaves nothing that float32 could add to a current.

A value common to all neurons of a node is a float here, else an array of the node's own shape.
"""

from typing import Any

import numpy as np

from keras_spiking_bp.utils.neuron_parameters import shown

_TOLERANCE = 1e-5  # of parameters that went through float32

#: The decay of a neuron without memory: the smallest normal number of float32.
NO_MEMORY = float(np.finfo("float32").tiny)

Parameter = float | np.ndarray


def leaks(name: str, beta: Parameter) -> bool:
    """Whether the neurons, in float32, have a decay below 1; a mixture is refused, as it has no node."""
    below = np.float32(beta) < 1
    if below.any() and not below.all():
        raise ValueError(f"The neurons of {name!r} must all leak, or none: a node of NIR is a LIF or an IF")
    return bool(below.all())


def forgets(beta: Parameter) -> bool:
    """Whether the neurons have no memory: in float32, a step as long as their time constant."""
    return bool(np.all(np.float32(1) - np.float32(beta) == 1))


def leaky(beta: Parameter, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """`tau` and `r = tau / dt` of a decay `beta` < 1 per step, which a float32 reader recovers exactly if >= 0.75."""
    tau = np.asarray(np.float32(dt) / (np.float32(1) - np.float32(beta)))
    return tau, np.asarray(tau / np.float32(dt))


def without_leak(dt: float) -> np.ndarray:
    """`r = 1 / dt` of a neuron without leak."""
    return np.asarray(np.float32(1) / np.float32(dt))


def read_lif(name: str, node: Any, dt: float) -> dict[str, Parameter]:
    """`beta`, `threshold` and `gain` of a LIF node."""
    beta, gain = _decay_and_gain(name, node, dt)
    return {"beta": beta, "threshold": _threshold(name, node) / gain, "gain": gain}


def read_resting_current(node: Any) -> Parameter:
    """Current per step equivalent to `v_leak` of a LIF node."""
    return _one_if_same(np.asarray(node.v_leak, "float64") / np.asarray(node.r, "float64"))


def read_cuba_lif(name: str, node: Any, dt: float) -> dict[str, Parameter]:
    """`beta`, `synaptic_beta`, `threshold` and `gain` of a CubaLIF node."""
    _check_zero(name, node, "v_leak")
    beta, gain = _decay_and_gain(name, node, dt, "tau_mem", "r")
    synaptic_beta, gain_of_current = _decay_and_gain(name, node, dt, "tau_syn", "w_in")
    gain = gain * gain_of_current
    return {"beta": beta, "synaptic_beta": synaptic_beta, "threshold": _threshold(name, node) / gain, "gain": gain}


def read_if(name: str, node: Any, dt: float) -> dict[str, Parameter]:
    """`beta` and `threshold` of an IF node."""
    _check_r_without_leak(name, node, dt)
    return {"beta": 1.0, "threshold": _threshold(name, node)}


def read_threshold(name: str, node: Any, dt: float) -> dict[str, Parameter]:
    """`beta` and `threshold` of a Threshold node."""
    return {"beta": NO_MEMORY, "threshold": _values(node, "threshold")}


#: By the type of a node of spiking neurons: their parameters.
OF_SPIKING = {"CubaLIF": read_cuba_lif, "IF": read_if, "LIF": read_lif, "Threshold": read_threshold}


def read_li(name: str, node: Any, dt: float) -> tuple[Parameter, Parameter]:
    """`beta` of an LI node, and the factor of its current: `v <- beta v + gain I = beta (v + gain / beta I)`."""
    _check_zero(name, node, "v_leak")
    beta, gain = _decay_and_gain(name, node, dt, shortest=dt * (1 + _TOLERANCE))
    return beta, _one_if_close(gain / beta)


def read_i(name: str, node: Any, dt: float) -> tuple[Parameter, Parameter]:
    """`beta` of an I node, and the factor of its current: both 1."""
    _check_r_without_leak(name, node, dt)
    return 1.0, 1.0


def _decay_and_gain(
    name: str, node: Any, dt: float, of_decay: str = "tau", factor: str = "r", shortest: float | None = None
) -> tuple[Parameter, Parameter]:
    tau, r = _values(node, of_decay), _values(node, factor)
    if np.min(tau) < (dt * (1 - _TOLERANCE) if shortest is None else shortest):
        raise ValueError(
            f"`dt` must be smaller than the time constant of each neuron. Received: dt={dt!r}, {of_decay}="
            f"{np.min(tau):g} of node {name!r}"
        )
    with np.errstate(invalid="ignore"):
        gain = np.where(np.isinf(tau) & np.isinf(r), 1.0, np.multiply(r, dt) / tau)
    return _one_if_same(np.maximum(1 - dt / tau, NO_MEMORY)), _one_if_close(gain)


def _threshold(name: str, node: Any) -> Parameter:
    _check_zero(name, node, "v_reset")
    return _values(node, "v_threshold")


def _check_r_without_leak(name: str, node: Any, dt: float) -> None:
    r = _values(node, "r")
    if not (np.allclose(r, 1) or np.allclose(r * dt, 1, rtol=_TOLERANCE)):
        raise ValueError(f"`r` of node {name!r} must be 1 / dt = {1 / dt:g}, or 1. Received: r={shown(r)}")


def _values(node: Any, parameter: str) -> Parameter:
    return _one_if_same(np.asarray(getattr(node, parameter), "float64"))


def _one_if_same(values: np.ndarray, tolerance: float = 0.0) -> Parameter:
    """One number if all are the same."""
    return float(values.min()) if np.isclose(values.min(), values.max(), rtol=tolerance, atol=0) else values


def _check_zero(name: str, node: Any, parameter: str) -> None:
    values = _values(node, parameter)
    if np.any(values != 0):
        kind = type(node).__name__
        raise ValueError(f"`{parameter}` of the {kind} node {name!r} must be 0. Received: {shown(values)}")


def _one_if_close(gain: Parameter) -> Parameter:
    return _one_if_same(np.where(np.isclose(gain, 1, rtol=_TOLERANCE), 1.0, gain), _TOLERANCE)
