"""The parameters of neurons, both ways."""

import math

import numpy as np
import pytest

from keras_spiking_bp.interchange import equations

nir = pytest.importorskip("nir")
DT = 1e-4


def node(kind, **changed):
    fields = {"tau": 1e-2, "r": 100.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    names = {"LIF": fields, "LI": ("tau", "r", "v_leak"), "IF": ("r", "v_threshold", "v_reset")}[kind]
    values = {name: changed.get(name, fields[name]) for name in names}
    return getattr(nir, kind)(**{name: np.broadcast_to(np.float32(v), (3,)) for name, v in values.items()})


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 1.0])
def test_beta_comes_back_exactly_in_float32(dt):
    for beta in [*np.linspace(0.75, 0.9999, 500), math.exp(-1 / 100), math.exp(-1 / 20)]:
        tau, r = equations.leaky(beta, dt)
        assert np.float32(1) - np.float32(dt) / tau == np.float32(beta)  # as a reader in float32
        np.testing.assert_allclose(r * dt / tau, 1, rtol=1e-6)
        found = equations.read_lif("n", node("LIF", tau=tau, r=r), dt)
        assert np.float32(found["beta"]) == np.float32(beta)
        assert found["threshold"] == 1


def test_a_decay_that_is_1_in_float32_is_none():
    assert [equations.leaks("n", beta) for beta in (0.5, 0.9999, 1 - 1e-9, 1.0)] == [True, True, False, False]
    assert equations.leaks("n", np.array([0.5, 0.9]))
    with pytest.raises(ValueError, match="neurons of 'n' must all leak, or none"):
        equations.leaks("n", np.array([0.5, 1.0]))


def test_a_neuron_without_leak_may_have_infinite_parameters():
    found = equations.read_lif("n", node("LIF", tau=np.inf, r=np.inf, v_threshold=0.5), DT)
    assert found == {"beta": 1.0, "threshold": 0.5, "gain": 1.0}
    some = np.float32([np.inf, 1e-2, 1e-2])
    found = equations.read_lif("n", node("LIF", tau=some, r=some / np.float32(DT), v_threshold=0.5), DT)
    np.testing.assert_allclose(found["beta"], [1.0, 0.99, 0.99], rtol=1e-6)
    np.testing.assert_allclose(found["threshold"], 0.5, rtol=1e-5)


@pytest.mark.parametrize(("read", "kind", "changed", "message"), [
    (equations.read_li, "LI", {"v_leak": 0.1}, "`v_leak` of the LI node 'n' must be 0.*Received: 0.1"),
    (equations.read_lif, "LIF", {"v_reset": (0, -0.5, 0)}, "`v_reset` of the LIF node 'n' must be 0.*-0.5 to 0"),
    (equations.read_lif, "LIF", {"tau": 0.99 * DT}, "`dt` must be smaller than the time constant"),
    (equations.read_li, "LI", {"tau": DT}, "`dt` must be smaller than the time constant.*tau=0.0001 of node 'n'"),
    (equations.read_if, "IF", {"r": 3.0}, "must be 1 / dt = 10000, or 1"),
])  # fmt: skip
def test_refusals(read, kind, changed, message):
    with pytest.raises(ValueError, match=message):
        read("n", node(kind, **changed), DT)


def test_a_time_constant_of_one_step_leaves_no_memory():
    """snnTorch and SpikingJelly write it for a decay of 0; in float32 it may be just below dt."""
    found = equations.read_lif("n", node("LIF", tau=np.float32(DT), r=1.0), DT)
    assert float(np.float32(DT)) < DT
    assert found == {"beta": equations.NO_MEMORY, "threshold": pytest.approx(1.0), "gain": 1.0}
