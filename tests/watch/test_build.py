"""What the page is made of, without a browser."""

import base64
import json

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from docs.watch import from_test_set
from docs.watch.description import description
from keras_spiking_bp.datasets.images import ImageSet
from keras_spiking_bp.rnn.observe import traces_of_spikes


def test_synapses_and_costs_are_those_of_the_analysis():
    encoder = ksbp.PoissonEncoder(6, scale=0.5, seed=0)
    stages, arguments = [(4, 3), "pool", (6, 3)], {"num_steps": 6, "kappa": 4.0, "seed": 0}
    model = ksbp.models.spiking_vgg((8, 8, 1), 3, stages, [16], encoder=encoder, **arguments, preset="paper")
    inner = ksbp.models.spiking_vgg(
        (8, 8, 1), 3, stages, [16], encoder=None, **arguments, preset="paper"
    )  # from spikes
    inner.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 1)).astype("float32")
    spikes = encoder.encode(images, (1, 2)).numpy().astype("float32")
    counted = ksbp.analysis.operations(inner, spikes, verbose=0)
    about = description(model)
    fired = {name: of["spikes"] for name, of in traces_of_spikes(inner, spikes).items() if "spikes" in of}
    fired["input"] = spikes
    assert len(about["connections"]) == 5
    for path, row in zip(about["connections"], counted.rows, strict=False):
        assert f"{path['source']} -> {path['target']}" == row["connection"]
        flat = fired[path["source"]].reshape(2, 6, -1)
        assert (flat * np.array(path["fan_out"])).sum() / 2 == row["accumulates"] > 0
    assert any(isinstance(path["fan_out"], list) for path in about["connections"])  # borders
    total = counted.rows[-1]  # of the ANN at each of six steps
    assert about["ann"] == {"macs": total["ann_macs"] / 6, "accumulates": total["ann_accumulates"] / 6}
    assert about["costs"] == {"accumulate": 0.9, "mac": 4.6}
    assert about["num_steps"] == 6 and about["readout"]["classes"] == 3


@pytest.mark.slow
def test_the_test_set_that_was_measured(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (20, 28, 28, 1), "uint8"), np.arange(20, dtype="int32")[::-1] % 10
    images = ImageSet("mnist", split, split, mean=(0.0,), scale=(1.0,), classes=10)
    monkeypatch.setattr(ksbp.datasets, "load_images", lambda name, data_dir: images)
    found = from_test_set.main(["--output", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert [digit["label"] for digit in found["digits"]] == list(range(10))
    assert [digit["index"] for digit in found["digits"]] == list(range(9, -1, -1))
    assert base64.b64decode(found["digits"][2]["pixels"]) == split[0][7].tobytes()
    committed = json.loads(from_test_set.PATH.read_text())
    assert [row["margin"] for row in found["early_exit"]] == [row["margin"] for row in committed["early_exit"]]
    assert committed["samples"] == 10_000 and [digit["label"] for digit in committed["digits"]] == list(range(10))
