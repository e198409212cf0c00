"""The networks of the benchmarks are the same network in every library: same spikes in, same potentials out."""

import importlib

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from benchmarks import networks, ours
from benchmarks.networks import Conv, Dense, Network, Pool
from tests.interchange.test_peers import HOW

torch = pytest.importorskip("torch", reason=f"torch {HOW}")

NETWORK = Network("small", (8, 8, 1), (Conv(4, 3), Pool(), Conv(6, 3), Pool(), Dense(20), Dense(10)))
STEPS, BATCH = 30, 8
#: The library, and its file and class in `benchmarks.peers`.
PEERS = {
    "snntorch": ("snntorch_net", "SnnTorchNet"), "spikingjelly": ("spikingjelly_net", "SpikingJellyNet"),
    "norse": ("norse_net", "NorseNet"), "torch": ("authors_rule", "AuthorsRule"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spikes():
    return (np.random.default_rng(0).random((BATCH, STEPS, 8, 8, 1)) < 0.5).astype("float32")


@pytest.fixture(scope="module")
def expected(spikes):
    inputs = keras.Input(spikes.shape[1:])
    model = keras.Model(inputs, ksbp.SpikingRNN(ours.cell_of(NETWORK))(inputs))
    ours.load(model, NETWORK)
    activity = model.layers[-1].observe(spikes)[1]
    rates = [counts["spike_count"].numpy().mean() / STEPS for counts in activity.values() if "spike_count" in counts]
    assert min(rates[:-1]) > 0.02 and max(rates) < 0.9
    return model.predict(spikes, verbose=0)


@pytest.mark.parametrize("library", PEERS)
def test_the_same_network_in_another_library(library, spikes, expected, monkeypatch):
    pytest.importorskip(library, reason=f"{library} {HOW}")
    file, kind = PEERS[library]
    module, common = (importlib.import_module(f"benchmarks.peers.{name}") for name in (file, "common"))
    given = torch.from_numpy(spikes.transpose(1, 0, 4, 2, 3).copy())  # (T, B, C, H, W)
    steps = iter(given)
    monkeypatch.setattr(common, "poisson", lambda images: given if images.ndim == 5 else next(steps))
    network = getattr(module, kind)(NETWORK, STEPS)
    with torch.no_grad():
        outputs = network(torch.from_numpy(networks.images(NETWORK, BATCH).transpose(0, 3, 1, 2).copy())).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow  # torch.compile takes a minute
@pytest.mark.parametrize("library", ["snntorch", "spikingjelly"])
def test_a_tuned_training_step_is_the_same(library, tmp_path):
    """Statistics of the forward pass, and gradients, in the state of the optimizer."""
    pytest.importorskip(library, reason=f"{library} {HOW}")
    vgg9 = importlib.import_module("benchmarks.peers.vgg9")
    images, labels = networks.images(networks.NETWORKS["vgg9"], 4), np.arange(4)
    found = []
    for tuned in (False, True):
        training = vgg9.build(library, 2, False, lambda step: 1e-3, tuned=tuned)
        training.train(images, labels, 0)
        training.save(tmp_path / "state")
        found.append(torch.load(tmp_path / "state"))
    means = [{k: v for k, v in state["model"].items() if k.endswith("running_mean")} for state in found]
    moments = [{i: of["exp_avg"] for i, of in state["optimizer"]["state"].items()} for state in found]
    assert len(means[0]) == 8 and len(moments[0]) > 20
    for plain, tuned in (means, moments):
        assert plain.keys() == tuned.keys()
        for key, value in plain.items():
            assert (tuned[key] - value).abs().max() <= 0.02 * value.abs().max()
