"""The search of examples/tune.py: what a trial reports, and which of them are best."""

import numpy as np
import pytest

keras_tuner = pytest.importorskip("keras_tuner", reason="keras-tuner is not installed (extra: tuner)")

from examples import tune  # noqa: E402
from keras_spiking_bp import analysis  # noqa: E402


@pytest.mark.slow
def test_a_trial_reports_what_the_network_spends():
    x, y = np.random.default_rng(0).uniform(0, 1, (16, 28, 28, 1)).astype("float32"), np.eye(10)[np.arange(16) % 10]
    space, hp = tune.Digits(seed=0), keras_tuner.HyperParameters()
    hp.Fixed("num_steps", 5)
    model = space.build(hp)
    reported = space.fit(hp, model, x, y, validation_data=(x, y), epochs=1, verbose=0)
    done = analysis.run(model, x, verbose=0)  # an analysis leaves the random stream as it was
    total = analysis.operations(done).rows[-1]
    assert reported["operations"] == pytest.approx(total["accumulates"] + total["macs"])
    assert reported["spikes"] == pytest.approx(analysis.activity(done).rows[-1]["spikes"])


def test_the_front_is_what_nothing_beats():
    rows = [{"spikes": s, "val_accuracy": a} for s, a in [(5, 0.5), (3, 0.4), (4, 0.3), (9, 0.9), (7, 0.5), (3, 0.2)]]
    assert [(r["spikes"], r["val_accuracy"]) for r in tune.pareto(rows)] == [(3, 0.4), (5, 0.5), (9, 0.9)]
