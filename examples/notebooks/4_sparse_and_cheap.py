# %% [markdown]
# # Sparsity and energy
#
# In a spiking network, each spike costs one addition at every synapse that it reaches; without a spike, no synapse
# computes anything (the potentials are still updated at every step). An ordinary network (ANN) multiplies and adds at
# every synapse, for every input. Which needs less energy depends on the number of spikes. This notebook counts them.

# %%
import keras
import matplotlib.pyplot as plt

import keras_spiking_bp as ksbp
from keras_spiking_bp import analysis
from keras_spiking_bp.analysis.style import STYLE

keras.utils.set_random_seed(0)
plt.rcParams.update(STYLE)
(x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()

encoder = ksbp.PoissonEncoder(num_steps=20, scale=0.5, seed=0)
snn = ksbp.models.spiking_vgg(
    (28, 28, 1), 10, stages=[(8, 5), "pool", (16, 5), "pool"], dense_units=[64], preset="paper", encoder=encoder, seed=0
)
ksbp.calibrate(snn, x_train[:16], firing_rate=0.07)
snn.compile(keras.optimizers.Adam(0.002), loss=ksbp.losses.SparseSumSquaredError())
history = snn.fit(x_train, y_train, batch_size=32, epochs=3, verbose=0)

# %% [markdown]
# ## Firing rates
#
# One pass over the test digits counts all spikes and operations; the tables and figures below are computed from it.

# %%
done = analysis.run(snn, x_test, y_test, verbose=0)
activity = analysis.activity(done)
print(activity)
activity.plot()
plt.show()

# %% [markdown]
# ## Synaptic operations
#
# For each connection: additions of the spiking network, counted spike by spike, and multiply-accumulates of the same
# network as an ANN. More time steps mean more spikes, and more operations.

# %%
analysis.operations(done).plot()
plt.show()

# %% [markdown]
# ## Energy
#
# An estimate from costs per operation: 0.9 pJ for an addition, 4.6 pJ for a multiply-accumulate (45 nm, 32 bits, as in
# the paper). This is arithmetic only, and favours the spiking network: its potentials must be read and written for
# every spike and at every step. With 5 pJ for each memory access (a small cache) the result changes. `ratio` is ANN /
# spiking: above 1 the spiking network needs less energy.

# %%
print("arithmetic alone:  ratio", round(analysis.energy(done).rows[-1]["ratio"], 2))
with_memory = analysis.energy(done, costs=analysis.Costs(memory_access=5.0))
print("with memory:       ratio", round(with_memory.rows[-1]["ratio"], 2))
with_memory.plot()
plt.show()

# %% [markdown]
# This is an estimate, not a measurement on a device. With data movement, a spiking network needs less energy than an
# ANN of equally coarse activations only if it fires rarely: in about 6 % of neurons and steps or less, for 5 steps on
# typical neuromorphic hardware (arXiv 2409.08290). `firing_rate` above is that of this network, which has 20 steps.
#
# ## Number of time steps
#
# There is a prediction after each step. Early exit, stopping when the largest output exceeds the second by a margin,
# saves steps and their spikes.

# %%
curve = analysis.accuracy_over_time(done)
upper, lower = curve.plot()
lower.set_xticks([1, 5, 10, 15, 20])
plt.show()
print(curve.early_exit([0.1, 0.2, 0.3, 0.5]))

# %% [markdown]
# ## Comparison with an ANN and with conversion
#
# The same architecture as an ordinary network, trained for as many epochs, and that network *converted* to a spiking
# one: integrate-and-fire neurons in place of ReLU, with balanced thresholds. A converted network needs no training with
# spikes.

# %%
ann = ksbp.ann_counterpart(snn)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ann.compile(keras.optimizers.Adam(0.002), loss=cross_entropy)
history = ann.fit(x_train, y_train, batch_size=32, epochs=3, verbose=0)
converted = ksbp.convert_to_snn(ann, x_train[:200], num_steps=60)

table = analysis.compare(
    {"ANN": ann, "trained with spikes": done, "converted": analysis.run(converted, x_test, y_test, verbose=0)},
    x_test,
    y_test,
    verbose=0,
)
print(table)
table.plot()
plt.show()

# %% [markdown]
# "At equal accuracy": the fewest steps after which each spiking network stays as accurate as the less accurate of the
# two. The converted network receives the image as a constant current, which costs multiplications in the first layer at
# every step. Compare costs only together with accuracies, including the ANN's.
#
# [Measure spikes and energy](../../docs/analysis.md) describes what is counted. Next: [export and
# streaming](5_export_and_streaming.ipynb).
