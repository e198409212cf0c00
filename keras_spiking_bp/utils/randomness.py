"""Random streams whose position is saved with the model, so that a resumed run continues as if uninterrupted."""

from typing import Any

import keras
import tensorflow as tf


def seeds_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The states of the random streams that a layer itself holds."""
    return [generator.state for generator in layer._seed_generators]


def draws_below(probability: Any, shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """True with the given probability, which broadcasts to `shape`: above 0, at most 1, rounded up to 16 bits.

    Two draws from each 32 random bits: drawing them is most of an encoder's time. (Bits, as XLA's floats are others.)
    """
    size = tf.reduce_prod(shape)
    bits = tf.random.stateless_uniform([(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    draws = tf.reshape(tf.reshape(tf.bitcast(bits, tf.int16), [-1])[:size], shape)
    last = tf.math.ceil(probability * 2.0**16) - (2.0**15 + 1.0)
    return draws <= tf.cast(tf.maximum(last, -(2.0**15)), tf.int16)


class SavesItsSeed:
    """Mixin for layers with a `seed`: the state of the stream is in `.keras` and weights files, but no weight.

    (Keras saves it only if it is one; `model.count_params()` would then not match the paper.)
    """

    seed: int | None

    def start_stream(self, seed: int | None) -> None:
        self.seed_generator = keras.random.SeedGenerator(seed)

    def next_seed(self) -> tf.Tensor:
        """The seed of the next draw, an integer pair for the stateless random functions; each replica has its own."""
        seed = tf.convert_to_tensor(self.seed_generator.next())
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return seed
        return tf.random.experimental.stateless_fold_in(seed, replica.replica_id_in_sync_group)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)  # type: ignore[misc]  # of the layer
        if hasattr(self, "seed_generator"):
            store["seed_state"] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        if "seed_state" in store.keys():  # noqa: SIM118 - a store of Keras is no mapping
            if hasattr(self, "seed_generator"):  # else the weights come from a network with dropout, this has none
                state, saved = self.seed_generator.state, store["seed_state"]
                if self.seed is None or keras.ops.convert_to_numpy(state)[0] == saved[0]:  # else it has its own stream
                    state.assign(saved)
            store = {name: store[name] for name in store.keys() if name != "seed_state"}  # noqa: SIM118
        super().load_own_variables(store)  # type: ignore[misc]
