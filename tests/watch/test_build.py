"""What the page is made of, without a browser."""

import numpy as np

import keras_spiking_bp as ksbp
from docs.watch.description import description
from keras_spiking_bp.rnn.observe import traces


def test_synapses_and_costs_are_those_of_the_analysis():
    encoder = ksbp.PoissonEncoder(6, scale=0.5, seed=0)
    stages, arguments = [(4, 3), "pool", (6, 3)], {"num_steps": 6, "kappa": 4.0, "seed": 0}
    model = ksbp.models.spiking_vgg((8, 8, 1), 3, stages, [16], encoder=encoder, **arguments, preset="paper")
    inner = ksbp.models.spiking_vgg((8, 8, 1), 3, stages, [16], encoder=None, **arguments, preset="paper")
    inner.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 1)).astype("float32")
    spikes = encoder.encode(images, (1, 2)).numpy().astype("float32")
    counted = ksbp.analysis.operations(inner, spikes, verbose=0)
    about = description(model)
    fired = {name: of["spikes"] for name, of in traces(inner, spikes).items() if "spikes" in of}
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
