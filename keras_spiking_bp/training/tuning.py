"""A search space of spiking networks for KerasTuner."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_spiking_bp import analysis
from keras_spiking_bp.analysis.run import plan
from keras_spiking_bp.encoders import PoissonEncoder
from keras_spiking_bp.losses import SumSquaredError
from keras_spiking_bp.models import spiking_vgg
from keras_spiking_bp.utils.validation import check_positive, check_seed


class SpikingHyperModel(keras_tuner.HyperModel):
    """Plain convolutional spiking networks, for every tuner of KerasTuner, which can narrow this space.

    | name | values | what |
    | --- | --- | --- |
    | `beta` | 0.9, 0.95, 0.98, 0.99, 0.995, 1 | decay of the membrane potential |
    | `threshold` | 0.5 to 2, logarithmic | of all LIF neurons |
    | `num_steps` | 5 to 30 by 5 | time steps T |
    | `dropout` | 0 to 0.4 by 0.1 | of the LIF neurons |
    | `learning_rate` | 1e-4 to 1e-2, logarithmic | of Adam |
    | `width` | 0.5, 1, 2 | factor on filters and units |

    A trial reports the training metrics of the last epoch of `fit`, and after it those of the validation data, with
    `spikes` (per sample, all layers) and `operations` (synaptic operations per sample) on its inputs.

    Args:
        input_shape, classes, stages, dense_units: as in `models.spiking_vgg`, at width 1; the default is LeNet.
        encoder_scale: of the Poisson encoder.
        seed: integer that fixes weights, dropout and input spikes of each trial, or None.

    Example:
        >>> from keras_spiking_bp.training.tuning import SpikingHyperModel
        >>> import keras_tuner
        >>> model = SpikingHyperModel((28, 28, 1), 10).build(keras_tuner.HyperParameters())
        >>> model.count_params()
        517500
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        stages: Sequence[tuple[int, int] | str] = ((20, 5), "pool", (50, 5), "pool"),
        dense_units: Sequence[int] = (200,),
        encoder_scale: float = 0.5,
        seed: int | None = None,
    ):
        super().__init__()
        self.input_shape, self.classes = input_shape, classes
        self.stages, self.dense_units = stages, dense_units
        self.encoder_scale = check_positive("encoder_scale", encoder_scale)
        self.seed = check_seed(seed)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """One network of the space, compiled with the paper's loss (one-hot labels) and Adam."""
        width = hp.Choice("width", (0.5, 1.0, 2.0), default=1.0)
        wide = lambda size: max(1, round(width * size))  # noqa: E731
        model = spiking_vgg(
            self.input_shape,
            self.classes,
            [stage if isinstance(stage, str) else (wide(stage[0]), *stage[1:]) for stage in self.stages],
            [wide(units) for units in self.dense_units],
            preset="paper",
            beta=hp.Choice("beta", (0.9, 0.95, 0.98, 0.99, 0.995, 1.0), default=0.99),
            threshold=hp.Float("threshold", 0.5, 2.0, sampling="log", default=1.0),
            dropout=hp.Float("dropout", 0.0, 0.4, step=0.1, default=0.0),
            encoder=PoissonEncoder(hp.Int("num_steps", 5, 30, step=5, default=20), self.encoder_scale, seed=self.seed),
            seed=self.seed,
        )
        rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
        model.compile(keras.optimizers.Adam(rate), loss=SumSquaredError(), metrics=["accuracy"])
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains one network; returns its metrics, those of `validation_data` and its cost there after the training.

        KerasTuner keeps the same weights for `get_best_models` (with several executions of a trial, whose metrics it
        averages, those of the last). Without `validation_data=(inputs, labels)` a ValueError ends the search.
        """
        validation = kwargs.get("validation_data")
        if not isinstance(validation, tuple):
            raise keras_tuner.errors.FatalValueError(
                "`validation_data` must be given as (inputs, labels), arrays: trials are compared on it. "
                f"Received: {type(validation).__name__}"
            )
        plan(model, counted=True)  # raises what would be raised after the training
        history = model.fit(*args, **kwargs)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(validation)
        batch_size = kwargs.get("validation_batch_size") or kwargs.get("batch_size")
        reached = model.evaluate(x, y, batch_size, verbose=0, sample_weight=sample_weight, return_dict=True)
        done = analysis.run(model, np.asarray(x), verbose=0)
        spent = {name: float(values[:, -1].mean()) for name, values in done.so_far().items()}
        cost = {"spikes": spent["spikes"], "operations": spent["accumulates"] + spent["macs"]}
        for callback in kwargs.get("callbacks") or ():
            if type(callback).__name__ == "SaveBestEpoch":  # of KerasTuner: the trial's weights, for `get_best_models`
                model.save_weights(callback.filepath)
        last = {name: values[-1:] for name, values in history.history.items()}  # of a History KerasTuner takes the best
        last |= {f"val_{name}": [value] for name, value in reached.items()}  # callbacks may have restored other weights
        history.history, history.epoch = last | {name: [value] for name, value in cost.items()}, history.epoch[-1:]
        return history
