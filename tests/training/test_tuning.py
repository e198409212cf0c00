"""The search space builds what it says, and a search reports accuracy and spikes of every trial."""

import keras
import numpy as np
import pytest

keras_tuner = pytest.importorskip("keras_tuner", reason="keras-tuner is not installed (extra: tuner)")

from examples import tune  # noqa: E402
from keras_spiking_bp import analysis  # noqa: E402
from keras_spiking_bp.training.tuning import SpikingHyperModel  # noqa: E402


def small(input_shape=(8, 8, 1), classes=3, seed=0):
    return SpikingHyperModel(
        input_shape, classes, stages=[(4, 3), "pool"], dense_units=[6], encoder_scale=0.25, seed=seed
    )


def test_the_network_has_the_chosen_values():
    hp = keras_tuner.HyperParameters()
    for name, value in {
        "beta": 0.95, "threshold": 0.7, "num_steps": 15, "dropout": 0.2, "learning_rate": 0.004, "width": 2.0
    }.items():  # fmt: skip
        hp.Fixed(name, value)
    model = small().build(hp)
    conv, _, fc, readout = model.get_layer("time").cell.neurons()
    assert (conv.beta, conv.threshold, conv.dropout, readout.beta) == (0.95, 0.7, 0.2, 0.95)
    assert conv.output_shape_of_step == (8, 8, 8) and fc.output_shape_of_step == (12,)
    assert model.layers[1].num_steps == 15 and model.layers[1].scale == 0.25
    assert float(model.optimizer.learning_rate) == pytest.approx(0.004)


def test_what_is_refused():
    with pytest.raises(ValueError, match="`validation_data` must be given"):
        small().fit(None, None, validation_data=np.ones(3))
    with pytest.raises(ValueError, match="`encoder_scale` must be a number above 0. Received: encoder_scale=0"):
        SpikingHyperModel((8, 8, 1), 3, encoder_scale=0)


@pytest.mark.slow
def test_a_trial_reports_what_the_network_spends():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (16, 8, 8, 1)).astype("float32"), keras.utils.to_categorical(np.arange(16) % 3, 3)
    space, hp = small(), keras_tuner.HyperParameters()
    model = space.build(hp)
    history = space.fit(hp, model, x, y, validation_data=(x, y), epochs=2, verbose=0)
    assert all(len(values) == 1 for values in history.history.values())
    metrics = {name: values[0] for name, values in history.history.items()}
    assert {"loss", "val_accuracy", "spikes", "operations"} <= metrics.keys()
    done = analysis.run(model, x, verbose=0)  # an analysis leaves the random stream as it was
    total = analysis.operations(done).rows[-1]
    assert metrics["operations"] == pytest.approx(total["accumulates"] + total["macs"])
    assert metrics["spikes"] == pytest.approx(analysis.activity(done).rows[-1]["spikes"])


@pytest.mark.slow
def test_the_weights_of_a_trial_are_those_of_its_metrics(tmp_path):
    """KerasTuner would keep those of the best epoch."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (16, 8, 8, 1)).astype("float32"), keras.utils.to_categorical(np.arange(16) % 3, 3)

    class Diverging(SpikingHyperModel):
        def build(self, hp):
            model = super().build(hp)
            model.optimizer.learning_rate = 0.5
            return model

    space = Diverging((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[6], seed=0)
    search = keras_tuner.RandomSearch(space, "val_loss", max_trials=1, directory=str(tmp_path), overwrite=True, seed=0)
    search.search(x, y, epochs=4, validation_data=(x, y), verbose=0)
    (model,), (trial,) = search.get_best_models(), search.oracle.get_best_trials()
    assert analysis.activity(model, x, verbose=0).rows[-1]["spikes"] == trial.metrics.get_best_value("spikes")
    loss = model.evaluate(x, y, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(trial.metrics.get_best_value("val_loss"), rel=0.05)  # other spikes


def test_the_front_is_what_nothing_beats():
    rows = [{"spikes": s, "val_accuracy": a} for s, a in [(5, 0.5), (3, 0.4), (4, 0.3), (9, 0.9), (7, 0.5), (3, 0.2)]]
    assert [(r["spikes"], r["val_accuracy"]) for r in tune.pareto(rows)] == [(3, 0.4), (5, 0.5), (9, 0.9)]
