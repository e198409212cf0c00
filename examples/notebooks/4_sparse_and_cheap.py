# %% [markdown]
# # How sparse, and how cheap?
#
# A spike costs an addition at each synapse that it reaches; no spike costs nothing. An ordinary network (ANN)
# multiplies and adds at each synapse, always. Which is cheaper depends on how many spikes there are. Count them.

# %%
import keras
import matplotlib.pyplot as plt

import keras_spiking_bp as ksbp
from keras_spiking_bp import analysis

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()

encoder = ksbp.PoissonEncoder(num_steps=20, scale=0.5, seed=0)
snn = ksbp.models.spiking_vgg(
    (28, 28, 1), 10, stages=[(8, 5), "pool", (16, 5), "pool"], dense_units=[64], encoder=encoder, seed=0
)
ksbp.calibrate(snn, x_train[:16], firing_rate=0.07)
snn.compile(keras.optimizers.Adam(0.002), loss=ksbp.losses.SparseSumSquaredError())
history = snn.fit(x_train, y_train, batch_size=32, epochs=3, verbose=0)

# %% [markdown]
# ## Who fires?
#
# One pass over the test digits counts everything; all questions below are answered from it.

# %%
done = analysis.run(snn, x_test, y_test, verbose=0)
activity = analysis.activity(done)
print(activity)
activity.plot()
plt.show()

# %% [markdown]
# ## What does it compute?
#
# Synaptic operations of each connection: of the spiking network, additions, counted spike by spike; of the same network
# as an ANN, multiply-accumulates. More time steps make more spikes: that is the price of time.

# %%
analysis.operations(done).plot()
plt.show()

# %% [markdown]
# ## What would that cost?
#
# Under a table of costs: 0.9 pJ an addition, 4.6 pJ a multiply-accumulate (45 nm, 32 bits, the paper's). That is
# arithmetic alone, and flatters the spiking network: its potentials must be read and written for every spike and at
# every step. With 5 pJ a memory access (a small cache) the picture changes. `ratio` is ANN / spiking: above 1 the
# spiking network needs less.

# %%
print("arithmetic alone:  ratio", round(analysis.energy(done).rows[-1]["ratio"], 2))
with_memory = analysis.energy(done, costs=analysis.Costs(memory_access=5.0))
print("with memory:       ratio", round(with_memory.rows[-1]["ratio"], 2))
with_memory.plot()
plt.show()

# %% [markdown]
# An estimate, not a device. With equal precision on both sides a spiking network needs less than an ANN only if it
# fires rarely: below about 6.4 % of neurons and steps, at 5 to 10 steps (arXiv 2409.08290). Look at `firing rate` above
# before you claim anything.
#
# ## How long must it run?
#
# After each step there is an answer. Stopping when the largest output leads by a margin saves steps, and their spikes.

# %%
curve = analysis.accuracy_over_time(done)
upper, lower = curve.plot()
lower.set_xticks([1, 5, 10, 15, 20])
plt.show()
print(curve.early_exit([0.1, 0.2, 0.3, 0.5]))

# %% [markdown]
# ## Beside an ANN, and beside conversion
#
# The same architecture as an ordinary network, trained as long; and that network *converted* to spikes:
# integrate-and-fire neurons for ReLU, thresholds balanced. Converted networks need no spiking training, but more time
# steps to be as accurate.

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
# "At equal accuracy": the fewest steps from which on each spiking network is as accurate as the less accurate of the
# two. The converted network gets the image itself as a current, and pays multiplications for it in its first layer, at
# every step. A cost means something only beside an accuracy: look at what the ANN reaches, too.
#
# What is counted, and how: [analysis](../../docs/analysis.md). Next: [export and
# streaming](5_export_and_streaming.ipynb).
