# %% [markdown]
# # A first spiking network, in ten lines
#
# Neurons in a brain send each other *spikes*: short pulses that are all alike. What a spike says lies in when it comes,
# and in how many there are. A *spiking network* computes that way: in a number of time steps, with ones and zeros
# between its layers.
#
# Here is one in Keras: it reads handwritten digits. You need to know `fit` and `predict`, and nothing of spikes.

# %%
import keras

import keras_spiking_bp as ksbp

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()  # 4,000 and 1,000 digits
encoder = ksbp.PoissonEncoder(num_steps=20, scale=0.5, seed=0)
layers = {"stages": [(8, 5), "pool", (16, 5), "pool"], "dense_units": [64]}
model = ksbp.models.spiking_vgg((28, 28, 1), 10, **layers, encoder=encoder, seed=0)
ksbp.calibrate(model, x_train[:16], firing_rate=0.07)  # no layer is silent at the start
model.compile(keras.optimizers.Adam(0.002), loss=ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=3, validation_data=(x_test, y_test), verbose=2)

# %% [markdown]
# From `compile` on it is a Keras model like any other.
#
# ## What is in it
#
# Two convolutions, two pooling layers and a dense one. Behind each stand *leaky integrate-and-fire neurons*: each adds
# up what comes in (its *membrane potential*), sends a spike when that passes a threshold, and starts again from zero.
# The last layer, the readout, only adds up; the class with the highest potential is the answer.

# %%
ksbp.summary(model)

# %% [markdown]
# ## From an image to spikes
#
# A `PoissonEncoder` draws lots: at each time step a pixel spikes with a probability that is its brightness (times
# `scale`). No single step shows the digit. The mean over the steps comes closer with every step.

# %%
import matplotlib.pyplot as plt
import numpy as np

from keras_spiking_bp.analysis.pictures import BLUE, ORANGE

spikes = encoder(x_test[:1]).numpy()[0, ..., 0]  # (20, 28, 28), zeros and ones

pictures = [x_test[0, ..., 0], spikes[0], spikes[1], spikes[:5].mean(0), spikes.mean(0)]
titles = ["image", "step 1", "step 2", "mean of 5 steps", "mean of 20 steps"]
figure, axes = plt.subplots(1, 5, figsize=(9, 2.3), layout="constrained")
for axis, picture, title in zip(axes, pictures, titles, strict=True):
    axis.imshow(picture, cmap="gray_r")
    axis.set(title=title, xlabel="pixel", xticks=[0, 27], yticks=[0, 27])
axes[0].set_ylabel("pixel")
plt.show()

# %% [markdown]
# ## What the network does with a digit
#
# Each mark is a spike. Few neurons fire, and seldom; that is what makes spiking networks cheap on hardware that
# computes only where there is a spike ([notebook 4](4_sparse_and_cheap.ipynb)).

# %%
axis = ksbp.analysis.pictures.raster(model, x_test[:1], neurons=20)
axis.set_xticks([1, 5, 10, 15, 20])
plt.show()

# %% [markdown]
# ## An answer at any time
#
# The network may be asked after each step, and grows surer with time.

# %%
curve = ksbp.analysis.accuracy_over_time(model, x_test, y_test, verbose=0)
outputs = curve.run.outputs[0]  # of the first digit: (20, 10)
steps = np.arange(1, 21)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(steps, np.delete(outputs, y_test[0], axis=1), color="#B5B5B5", linewidth=1)
left.plot(steps, outputs[:, y_test[0]], color=BLUE, linewidth=2.5, label=f"the right class, {y_test[0]}")
left.set(xlabel="time step t", ylabel="output V[t] / t", title="one digit", xticks=[1, 5, 10, 15, 20])
left.legend(frameon=False)
right.plot(steps, [100 * row["accuracy"] for row in curve.rows], color=ORANGE, linewidth=2.5)
right.set(xlabel="time steps", ylabel="accuracy (%)", title=f"{len(x_test):,} test digits", xticks=[1, 5, 10, 15, 20])
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ## Keep it
#
# `model.save("digits.keras")`, as ever. Next: [the gradient, seen](2_gradient.ipynb): how a network of ones and zeros
# can learn.
