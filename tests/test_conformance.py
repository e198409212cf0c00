"""Every public layer passes Keras' own checks; a public class without a case here fails the suite."""

import inspect

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase  # not public

import keras_spiking_bp as ksbp


def conv(filters=4, **kwargs):
    return keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, **kwargs)


CELLS = {
    "LIFCell": lambda: ksbp.LIFCell(conv(), beta=0.9, dropout=0.25, seed=1),
    "IFCell": lambda: ksbp.IFCell(keras.layers.AveragePooling2D(2), dropout=0.25, seed=1),
    "PoolingCell": lambda: ksbp.PoolingCell(keras.layers.AveragePooling2D(2)),
    "MaxPoolingCell": lambda: ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="counts"),
    "ReadoutCell": lambda: ksbp.ReadoutCell(keras.layers.Dense(3)),
    "SequentialCell": lambda: ksbp.SequentialCell(
        [ksbp.LIFCell(conv()), keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))]
    ),
    "GraphCell": lambda: ksbp.GraphCell(
        [
            (ksbp.LIFCell(conv(), name="a"), "input"),
            (keras.layers.Conv2D(4, 1, use_bias=False, name="b"), "input"),
            (keras.layers.Add(name="sum"), ["a", "b"]),
            (ksbp.LIFCell(conv(), name="c"), "sum"),
        ]
    ),
    "RecurrentCell": lambda: ksbp.RecurrentCell(ksbp.LIFCell(conv(), synaptic_beta=0.5), conv()),
    "ResidualCell": lambda: ksbp.ResidualCell(ksbp.LIFCell(conv()), ksbp.LIFCell(conv()), conv()),
}
OUTPUTS = {  # shape of a step, weights, generators
    "LIFCell": ((6, 6, 4), 1, 1),
    "IFCell": ((3, 3, 2), 0, 1),
    "PoolingCell": ((3, 3, 2), 0, 0),
    "MaxPoolingCell": ((3, 3, 2), 0, 0),
    "ReadoutCell": ((6, 6, 3), 2, 0),
    "SequentialCell": ((3,), 3, 0),
    "GraphCell": ((6, 6, 4), 3, 0),
    "RecurrentCell": ((6, 6, 4), 2, 0),
    "ResidualCell": ((6, 6, 4), 3, 0),
}
ENCODERS = {"PoissonEncoder": "int8", "ConstantEncoder": "float32", "LatencyEncoder": "int8"}
OTHERS = {"Cell": "abstract", "SpikingRNN": "runs every case of the cells", "DeltaEncoder": "takes a series"}


def test_every_public_class_has_a_case():
    classes = {name for name in ksbp.__all__ if inspect.isclass(getattr(ksbp, name))}
    assert classes == {*CELLS, *ENCODERS, *OTHERS}


@keras.saving.register_keras_serializable(package="tests")
class RunsACell(ksbp.SpikingRNN):
    """`SpikingRNN` from plain keyword arguments, as `run_layer_test` wants it."""

    def __init__(self, cell_name, **kwargs):
        super().__init__(CELLS[cell_name](), **kwargs)
        self.cell_name = cell_name

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        return {**config, "cell_name": self.cell_name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class TestLayers(TestCase):
    def test_cells(self):
        for name in OUTPUTS:
            if name != "RecurrentCell":  # refused
                self.check(name, "accumulated", sequences=False)
        self.check("RecurrentCell", "bptt", sequences=True)

    @pytest.mark.slow
    def test_other_cells_through_the_loop(self):
        for name in OUTPUTS.keys() - {"RecurrentCell"}:
            self.check(name, "bptt", sequences=True)

    def check(self, name, gradient, sequences):
        shape, weights, generators = OUTPUTS[name]
        with self.subTest(name=name, gradient=gradient, sequences=sequences):
            self.run_layer_test(
                RunsACell,
                init_kwargs={"cell_name": name, "gradient": gradient, "return_sequences": sequences},
                input_shape=(2, 5, 6, 6, 2),
                expected_output_shape=(2, 5, *shape) if sequences else (2, *shape),
                expected_num_seed_generators=generators,
                expected_num_non_trainable_variables=generators,
                expected_num_trainable_weights=weights,
                expected_num_non_trainable_weights=0,
                supports_masking=True,
                run_training_check=name in ("GraphCell", "RecurrentCell", "SequentialCell") or gradient == "bptt",
                run_mixed_precision_check=False,  # layers are float32 by design
            )

    def test_encoders(self):
        for name, dtype in ENCODERS.items():
            generators = int(name == "PoissonEncoder")
            self.run_layer_test(
                getattr(ksbp, name),
                init_kwargs={"num_steps": 5, "scale": 0.5},
                input_shape=(2, 6, 6, 2),
                expected_output_shape=(2, 5, 6, 6, 2),
                expected_output_dtype=dtype,
                expected_num_seed_generators=generators,
                expected_num_non_trainable_variables=generators,
                expected_num_trainable_weights=0,
                expected_num_non_trainable_weights=0,
                supports_masking=False,
                run_training_check=False,
                run_mixed_precision_check=False,  # images stay float32 by design
            )

    def test_encoder_of_a_series(self):
        self.run_layer_test(
            ksbp.DeltaEncoder,
            init_kwargs={"threshold": 0.5, "falls": True, "from_zero": False},
            input_shape=(2, 5, 6),
            expected_output_shape=(2, 5, 6),
            expected_output_dtype="int8",
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            supports_masking=True,
            run_training_check=False,
            run_mixed_precision_check=False,
        )


def test_a_cell_keeps_its_settings():
    settings = {
        "beta": 0.9, "threshold": 1.5, "reset_mechanism": "subtract", "dropout": 0.25, "seed": 3,
        "initial_membrane": 0.25, "signed": True, "synaptic_beta": 0.8, "learn_beta": True, "learn_threshold": True,
    }  # fmt: skip
    cell = ksbp.LIFCell(conv(), surrogate=ksbp.surrogates.Sigmoid(4.0), **settings)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert {name: getattr(copy, name) for name in settings} == settings
    assert type(copy.surrogate) is ksbp.surrogates.Sigmoid and copy.surrogate.get_config() == {"slope": 4.0}
    for one in (cell, copy):
        one.build((None, 6, 6, 2))
    np.testing.assert_array_equal(copy.draw_keep(2), cell.draw_keep(2))
    assert 0 < np.mean(cell.draw_keep(2) == 0) < 1


@pytest.mark.parametrize(("encoder", "settings"), [
    (ksbp.ConstantEncoder, {"num_steps": 7, "scale": 0.3}),
    (ksbp.PoissonEncoder, {"num_steps": 7, "scale": 0.3, "seed": 5}),
    (ksbp.LatencyEncoder, {"num_steps": 7, "scale": 0.7, "threshold": 0.2, "tau": 2.0, "clip": True}),
    (ksbp.LatencyEncoder, {"num_steps": 7, "linear": True}),
    (ksbp.DeltaEncoder, {"threshold": 0.1, "falls": True, "from_zero": False}),
])  # fmt: skip
def test_a_revived_encoder_computes_the_same(encoder, settings):
    x = np.random.default_rng(0).uniform(0, 1, (4, 6, 3)).astype("float32")
    made = encoder(**settings)
    expected = np.asarray(encoder.from_config(made.get_config())(x))
    np.testing.assert_array_equal(made(x), expected)
    first = dict([next(iter(settings.items()))])  # the argument that has no default
    assert np.any(np.asarray(encoder(**first)(x)) != expected)  # the others matter
