"""The parameters of neurons in NIR and here, both ways.

NIR describes neurons in continuous time, `tau dv/dt = v_leak - v + r I`; libraries run them by steps of `dt`:

    v <- v + dt / tau * (v_leak - v + r I) = (1 - dt / tau) v + (r dt / tau) I        fire at v > v_threshold

Ours integrate first and leak last: `m <- m + I`, fire at m > threshold, `m <- beta m`. Seen before the leak, m obeys
`m <- beta m + I`, which is the line above with

    LIF: tau = dt / (1 - beta), r = tau / dt           v is our potential at the comparison: the same spikes
    LI:  tau = dt / (1 - beta), r = beta tau / dt      v is the potential V[t] that our readout gives, after the leak
    IF, I (beta = 1): dv/dt = r I, r = 1 / dt
    CubaLIF: tau_mem and r as tau and r of a LIF, tau_syn = dt / (1 - synaptic_beta), w_in = tau_syn / dt

A `CubaLIF` has a current of its own, `tau_syn dI/dt = w_in S - I`, which takes its step before the potential does.

A neuron that resets to zero, or by subtraction of its threshold, may be scaled: where `gain = r dt / tau` (of a CubaLIF
times `w_in dt / tau_syn`) is not 1, v / gain is our potential and v_threshold / gain our threshold. snnTorch and Norse
write `r = 1` for an IF whose step adds I, whatever dt is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_TOLERANCE = 1e-5  # of parameters that went through float32


def leaks(beta: float) -> bool:
    """Whether the neurons, in float32, have a decay below 1."""
    return bool(np.float32(beta) < 1)


def leaky(beta: float, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """`tau` and `r = tau / dt` of a neuron with decay `beta` < 1 per step.

    From beta as float32, as the neurons use it: a reader in float32 gets exactly it back for beta >= 0.75.
    """
    tau = np.float32(dt) / (np.float32(1) - np.float32(beta))
    return tau, tau / np.float32(dt)


def without_leak(dt: float) -> np.ndarray:
    """`r = 1 / dt` of a neuron without leak."""
    return np.float32(1) / np.float32(dt)


def read_lif(name: str, node: Any, dt: float) -> dict[str, float]:
    """`beta` and `threshold` of a LIF node."""
    beta, gain = _decay_and_gain(name, node, dt)
    return {"beta": beta, "threshold": _threshold(name, node) / gain}


def read_cuba_lif(name: str, node: Any, dt: float) -> dict[str, float]:
    """`beta`, `synaptic_beta` and `threshold` of a CubaLIF node."""
    beta, gain = _decay_and_gain(name, node, dt, "tau_mem", "r")
    synaptic_beta, gain_of_current = _decay_and_gain(name, node, dt, "tau_syn", "w_in")
    threshold = _threshold(name, node) / (gain * gain_of_current)
    return {"beta": beta, "synaptic_beta": synaptic_beta, "threshold": threshold}


def read_if(name: str, node: Any, dt: float) -> dict[str, float]:
    """`threshold` of an IF node."""
    _check_r_without_leak(name, node, dt)
    return {"threshold": _threshold(name, node)}


def read_li(name: str, node: Any, dt: float) -> tuple[float, float]:
    """`beta` of an LI node, and the factor of its current: `v <- beta v + gain I = beta (v + gain / beta I)`."""
    beta, gain = _decay_and_gain(name, node, dt)
    return beta, _one_if_close(gain / beta)


def read_i(name: str, node: Any, dt: float) -> tuple[float, float]:
    """`beta` of an I node, and the factor of its current: both 1."""
    _check_r_without_leak(name, node, dt)
    return 1.0, 1.0


def _decay_and_gain(name: str, node: Any, dt: float, of_decay: str = "tau", factor: str = "r") -> tuple[float, float]:
    tau, r = _same_for_all(name, node, of_decay), _same_for_all(name, node, factor)
    _check_zero(name, node, "v_leak")
    if not tau > dt:
        raise ValueError(
            f"`dt` must be smaller than the time constant of each neuron, since the decay per step is 1 - dt / tau. "
            f"Received: dt={dt!r}, {of_decay}={tau:g} of node {name!r}"
        )
    if not r > 0:
        raise ValueError(f"`{factor}` of node {name!r} must be above 0. Received: {factor}={r:g}")
    return 1 - dt / tau, _one_if_close(r * dt / tau)


def _threshold(name: str, node: Any) -> float:
    _check_zero(name, node, "v_reset")
    threshold = _same_for_all(name, node, "v_threshold")
    if not threshold > 0:
        raise ValueError(f"`v_threshold` of node {name!r} must be above 0. Received: v_threshold={threshold:g}")
    return threshold


def _check_r_without_leak(name: str, node: Any, dt: float) -> None:
    r = _same_for_all(name, node, "r")
    if not (np.isclose(r, 1) or np.isclose(r * dt, 1, rtol=_TOLERANCE)):
        raise ValueError(
            f"`r` of the {type(node).__name__} node {name!r} must be 1 / dt = {1 / dt:g}, or 1 as snnTorch and Norse "
            f"write it. Received: r={r:g}"
        )


def _same_for_all(name: str, node: Any, parameter: str) -> float:
    values = np.asarray(getattr(node, parameter), "float64")
    low, high = values.min(), values.max()
    if not np.isclose(low, high, rtol=_TOLERANCE, atol=0):
        raise ValueError(
            f"`{parameter}` of node {name!r} must be the same for all its neurons, as in a cell. "
            f"Received: {low:g} to {high:g}"
        )
    return float(low)


def _check_zero(name: str, node: Any, parameter: str) -> None:
    values = np.asarray(getattr(node, parameter))
    if np.any(values != 0):
        raise ValueError(
            f"`{parameter}` of node {name!r} must be 0, where our neurons rest. "
            f"Received: {values.min():g} to {values.max():g}"
        )


def _one_if_close(gain: float) -> float:
    return 1.0 if np.isclose(gain, 1, rtol=_TOLERANCE) else gain
