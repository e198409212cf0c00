# %% [markdown]
# # A first spiking network, in ten lines
#
# Neurons in a brain send each other *spikes*: short pulses of equal shape. The information is in their timing and their
# number. A *spiking network* computes in this way: it runs for a number of time steps, and its layers exchange ones (a
# spike) and zeros (none).
#
# This notebook trains one in Keras to classify handwritten digits. You need to know `fit` and `predict`; no
# knowledge of spikes is assumed. The digits, and the plots of the notebooks, come with `pip install '.[data]'`.

# %%
import keras

import keras_spiking_bp as ksbp

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()  # 4,000 and 1,000 digits
encoder = ksbp.PoissonEncoder(num_steps=20, scale=0.5, seed=0)
layers = {"stages": [(8, 5), "pool", (16, 5), "pool"], "dense_units": [64]}
model = ksbp.models.spiking_vgg((28, 28, 1), 10, **layers, preset="paper", encoder=encoder, seed=0)
ksbp.calibrate(model, x_train[:16], firing_rate=0.07)  # so that every layer fires at the start
model.compile(keras.optimizers.Adam(0.002), loss=ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=3, validation_data=(x_test, y_test), verbose=2)

# %% [markdown]
# `compile`, `fit` and `evaluate` work as for any Keras model.
#
# ## The layers
#
# Two convolutions, two pooling layers and a dense layer, each followed by *integrate-and-fire neurons*. Such a neuron
# adds its inputs to its *membrane potential*. When the potential exceeds a threshold, the neuron emits a spike and its
# potential is reset to zero. Those of convolutions and dense layers are *leaky*: their potential shrinks by 1 % in each
# step. The last layer, the readout, adds up its inputs with the same leak and never fires; the class with the highest
# potential is the prediction.

# %%
ksbp.summary(model)

# %% [markdown]
# ## From an image to spikes
#
# At each time step, a `PoissonEncoder` decides at random whether each pixel spikes; the probability is its brightness
# times `scale`. A single step shows little of the digit. The mean over the steps approaches the image times `scale`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from keras_spiking_bp.analysis.style import BLUE, GREY, ORANGE, STYLE

plt.rcParams.update(STYLE)
spikes = encoder(x_test[:1]).numpy()[0, ..., 0]  # (20, 28, 28), zeros and ones

pictures = [x_test[0, ..., 0], spikes[0], spikes[1], spikes[:5].mean(0), spikes.mean(0)]
titles = ["image", "step 1", "step 2", "mean of 5 steps", "mean of 20 steps"]
figure, axes = plt.subplots(1, 5, figsize=(9, 2.3))
for axis, picture, title in zip(axes, pictures, titles, strict=True):
    axis.imshow(picture, cmap="gray_r")
    axis.set(title=title, xlabel="pixel", xticks=[0, 27], yticks=[0, 27])
axes[0].set_ylabel("pixel")
plt.show()

# %% [markdown]
# ## What the network does with a digit
#
# Each mark is a spike. In most steps, most neurons are silent. On hardware that computes only where there is a spike,
# this can make a spiking network cheap: [notebook 4](4_sparse_and_cheap.ipynb) counts when it does.

# %%
axis = ksbp.analysis.pictures.raster(model, x_test[:1], neurons=20)
axis.set_xticks([1, 5, 10, 15, 20])
plt.show()

# %% [markdown]
# ## A prediction after every step
#
# The readout gives a prediction after each step. With more steps, predictions become more accurate.

# %%
curve = ksbp.analysis.accuracy_over_time(model, x_test, y_test, verbose=0)
outputs = curve.run.outputs[0]  # of the first digit: (20, 10)
steps = np.arange(1, 21)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(steps, np.delete(outputs, y_test[0], axis=1), color=GREY, linewidth=1)
left.plot(steps, outputs[:, y_test[0]], color=BLUE, linewidth=2.5, label=f"the right class, {y_test[0]}")
left.set(xlabel="time step t", ylabel="output V[t] / t", title="one digit", xticks=[1, 5, 10, 15, 20])
left.legend()
right.plot(steps, [100 * row["accuracy"] for row in curve.rows], color=ORANGE, linewidth=2.5)
right.set(xlabel="time steps", ylabel="accuracy (%)", title=f"{len(x_test):,} test digits", xticks=[1, 5, 10, 15, 20])
plt.show()

# %% [markdown]
# ## Save the model
#
# `model.save("digits.keras")`, as for any Keras model. Next: [the gradient](2_gradient.ipynb), or how a network of
# ones and zeros can be trained.
