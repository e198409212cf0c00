# %% [markdown]
# # A deep network on colour images
#
# Deep spiking networks often fail to train because each layer emits fewer spikes than it receives, until the last
# layers are dead: they never fire. What follows them then receives nothing and cannot learn; with the paper's
# derivative no gradient passes through them either. This notebook calibrates and trains a network with six spiking
# layers that have weights.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.style import BLUE, GREY, ORANGE, STYLE

keras.utils.set_random_seed(0)
plt.rcParams.update(STYLE)

# %% [markdown]
# ## The images
#
# CIFAR-10, if TensorFlow Datasets already has it on this machine (`tfds build cifar10`); otherwise real handwritten
# digits, each in a random colour: an easier task, in which the network must learn the shape and ignore the colour.

# %%


def tinted(digits, seed):
    """Digits (N, 28, 28, 1), each in a random colour on black, (N, 28, 28, 3)."""
    return digits * np.random.default_rng(seed).uniform(0.3, 1, (len(digits), 1, 1, 3)).astype("float32")


try:
    cifar = ksbp.datasets.load_images("cifar10", download=False).with_validation(1000)  # the test set is not touched
    (x_train, y_train), (x_test, y_test) = cifar.train, cifar.test
    x_train, y_train = cifar.normalised(x_train[:4000]), y_train[:4000]
    x_test, what = cifar.normalised(x_test), "CIFAR-10"
except (FileNotFoundError, ImportError):
    (digits, y_train), (test_digits, y_test) = ksbp.datasets.mnist_5k()
    x_train, x_test, what = tinted(digits, seed=1), tinted(test_digits, seed=2), "tinted MNIST-5k digits"

figure, axes = plt.subplots(1, 8, figsize=(9, 1.5))
for axis, image, label in zip(axes, x_train, y_train, strict=False):
    low = min(image.min(), 0)
    axis.imshow((image - low) / (image.max() - low))
    axis.set(title=f"class {label}", xticks=[], yticks=[])
figure.suptitle(
    f"{what}: {len(x_train):,} for training, {len(x_test):,} for the test", fontsize=10, fontweight="normal"
)
plt.show()

# %% [markdown]
# ## Firing rates before training
#
# Five convolutions and a dense layer, with the paper's initial weights, and only 8 time steps. With so few steps, the
# image is given as a constant current instead of random spikes (`ConstantEncoder`), and the reset subtracts the
# threshold. How often do the neurons of each layer fire, if their membrane potential starts at 0, and if it starts at
# half the threshold, so that a count is the total current, rounded, if the current is even over time?

# %%


def network(initial_membrane):
    return ksbp.models.spiking_vgg(
        x_train.shape[1:],
        10,
        stages=[(8, 3), (12, 3), "pool", (16, 3), (24, 3), "pool", (32, 3)],
        dense_units=[64],
        encoder=ksbp.ConstantEncoder(num_steps=8),
        reset_mechanism="subtract",
        initial_membrane=initial_membrane,
        preset="paper",
        surrogate="bounded",
        seed=0,
    )


model = network(initial_membrane=0.5)
from_0, from_half = (ksbp.analysis.activity(m, x_train[:32], verbose=0) for m in (network(initial_membrane=0.0), model))

# %% [markdown]
# From 0, the last layers are dead. From half the threshold all layers fire, but seldom. `calibrate` scales the weights
# of each layer, from first to last, until its neurons fire at the given rate on some sample images, and those of the
# readout until its outputs have the given standard deviation, as suits logits.

# %%
ksbp.calibrate(model, x_train[:32], firing_rate=0.1, output_std=2.0)
after = ksbp.analysis.activity(model, x_train[:32], verbose=0)

rates = [[row["firing_rate"] for row in table.rows[:-1]] for table in (from_0, from_half, after)]
titles = ("from 0", "from half the threshold", "after calibrate")
names = [row["layer"] for row in after.rows[:-1]]
place = np.arange(len(names))
figure, axis = plt.subplots(figsize=(7, 3.2))
for shift, rate, color, label in zip((-0.27, 0, 0.27), rates, (GREY, ORANGE, BLUE), titles, strict=True):
    axis.bar(place + shift, rate, 0.26, color=color, label=label)
axis.set_xticks(place, names)
axis.set(xlabel="layer, from first to last", ylabel="spikes per neuron and step")
axis.margins(y=0.25)
axis.legend(ncols=3)
plt.show()

# %% [markdown]
# ## Training
#
# Cross-entropy, and Adam with a learning rate that decays: in deep spiking networks the gradients of the layers differ
# widely in size, and Adam adapts the step size of each weight. `surrogate="bounded"` lets no gradient pass through
# neurons that fire at every step or have no charge. `callbacks.Health` warns of dead and saturated layers.

# %%
epochs, batch_size = 4, 32
rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(x_train) // batch_size)
model.compile(
    keras.optimizers.Adam(rate),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
health = ksbp.callbacks.Health(x_train[:16])
history = model.fit(
    x_train,
    y_train,
    batch_size=batch_size,
    epochs=epochs,
    validation_data=(x_test, y_test),
    callbacks=[health],
    verbose=2,
).history

# %%
figure, axis = plt.subplots(figsize=(6, 3.2))
for name, label, color, style in (
    ("accuracy", "training (mean over the epoch)", ORANGE, "--o"),
    ("val_accuracy", "test", BLUE, "-s"),
):
    axis.plot(range(1, epochs + 1), [100 * value for value in history[name]], style, color=color, label=label)
axis.set(xlabel="epoch", ylabel="accuracy (%)", xticks=range(1, epochs + 1), ylim=(0, 102), title=what)
axis.legend(loc="lower right")
plt.show()

# %% [markdown]
# ## Longer trainings
#
# This training takes seconds, that of VGG9 on CIFAR-10 half an hour: `python -m examples.experiments.reproduce
# --network vgg9 --dataset cifar10`. Its recipe uses batch normalisation in the synapses (`normalization="batch"`), so
# that a deep network needs no calibration. See [results](../../docs/results.md) for the accuracies, and
# [training](../../docs/training.md) for common problems and remedies.
#
# Next: [how sparse and how cheap](4_sparse_and_cheap.ipynb).
