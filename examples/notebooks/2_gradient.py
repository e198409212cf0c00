# %% [markdown]
# # The gradient
#
# A spike is a step function of the membrane potential: 0 below the threshold, 1 above. Its derivative is 0 almost
# everywhere, so plain backpropagation learns nothing. This notebook shows what is used instead, with one figure for
# each idea.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.style import BLUE, DARK_GREY, GREEN, GREY, ORANGE, STYLE
from keras_spiking_bp.gradients.slopes import leak_correction

keras.utils.set_random_seed(0)
plt.rcParams.update(STYLE)

# %% [markdown]
# ## 1. One neuron
#
# At each step the current is added to the membrane potential; above the threshold of 1 the neuron fires, and its
# potential is reset to 0; then the potential decays by the factor `beta`, the leak.

# %%
beta, threshold, num_steps = 0.9, 1.0, 60
current = 0.45 * np.random.default_rng(3).integers(0, 2, num_steps)  # an input that spikes at random, weight 0.45

membrane, before, after, fired = 0.0, [], [], []
for t in range(num_steps):
    membrane = membrane + current[t]  # integrate
    before.append(membrane)
    spike = membrane > threshold  # fire
    membrane = beta * (0.0 if spike else membrane)  # reset, leak
    after.append(membrane)
    fired.append(spike)

layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Identity(), beta=beta), return_sequences=True)
assert np.array_equal(layer(current[None, :, None])[0, :, 0], fired)  # LIFCell does the same

steps = np.arange(1, num_steps + 1)
figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 3.8), sharex=True, height_ratios=[1, 4])
top.vlines(steps[current > 0], 0, 1, color=DARK_GREY)
top.set(ylabel="input\nspikes", yticks=[])
times = np.repeat(steps, 2)
bottom.plot(times, np.ravel([before, after], order="F"), color=BLUE, linewidth=1.5)
bottom.axhline(threshold, color=GREY, linewidth=1)
bottom.vlines(steps[fired], 1.4, 1.6, color=ORANGE, linewidth=2.5)
bottom.annotate("output spikes", (1, 1.68), color=ORANGE)
bottom.annotate("threshold", (num_steps, 1.03), ha="right", color=DARK_GREY)
bottom.set(xlabel="time step", ylabel="membrane potential", ylim=(0, 1.85))
plt.show()

# %% [markdown]
# ## 2. The spike count is nearly linear
#
# A single spike is a step function. For positive input well below one threshold per step, the number of spikes in a
# whole window is nearly a linear function of the total input: it rises in small steps along a line, and its mean over
# random inputs is smooth. Below, a neuron receives 30 random inputs in 100 time steps, and all its weights, which are
# positive, are multiplied by a common factor.

# %%
rng = np.random.default_rng(0)
inputs = (rng.uniform(size=(300, 100, 30)) < 0.2).astype("float32")  # 300 samples, 100 steps, 30 inputs
weights = np.abs(rng.normal(size=30))
total_input = np.linspace(0, 30, 91)  # of 91 neurons: the mean over the samples, summed over the steps
scaled = np.outer(weights, total_input / (inputs.sum(1).mean(0) @ weights))


def neurons(beta):
    """91 neurons with these weights; what they did in the 300 samples."""
    synapse = keras.layers.Dense(91, use_bias=False)
    layer = ksbp.SpikingRNN(ksbp.LIFCell(synapse, beta=beta, name="lif"))
    layer.build(inputs.shape)
    synapse.set_weights([scaled])
    return layer.observe(inputs)[1]["lif"]


activity = {beta: neurons(beta) for beta in (0.99, 0.9)}

figure, axis = plt.subplots(figsize=(6, 3.4))
for (beta, did), color, style in zip(activity.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
    count = did["spike_count"].numpy()
    axis.step(total_input, count[0], color=color, linewidth=0.8, alpha=0.7)
    axis.plot(total_input, count.mean(0), style, color=color, linewidth=2.5, label=f"beta = {beta}, mean of 300 inputs")
axis.plot([], [], color=DARK_GREY, linewidth=0.8, label="thin: one input")
axis.set(xlabel="total input in 100 steps, in thresholds", ylabel="spike count")
axis.legend()
plt.show()

# %% [markdown]
# ## 3. The slope of that line
#
# Without a leak, a neuron whose reset subtracts the threshold fires once for each `threshold` of input: the slope is
# 1 / threshold. A reset to zero discards what exceeds the threshold, and with a leak part of the input is lost. For the
# leak the paper (arXiv 1903.06379) corrects the slope by
#
# `correction = 1 + ln(beta) * leaky_trace / spike_count`
#
# (`gradients.leak_correction`; 0 for a neuron that never fired), where the leaky trace is the sum of the neuron's own
# spikes, each multiplied by `beta` for every step since. The correction differs much from 1 only for few spikes and a
# fast leak. It does not account for the charge that leaks away between spikes.

# %%
betas = np.linspace(0.5, 0.999, 100)
figure, axis = plt.subplots(figsize=(6, 3.2))
for every, color, style in ((2, BLUE, "-"), (5, ORANGE, "--"), (20, GREEN, "-.")):
    times = np.arange(every, 101, every)  # a spike at every so many of 100 steps
    count = tf.constant(len(times), tf.float32)
    traces = [tf.constant((beta ** (100 - times)).sum(), tf.float32) for beta in betas]
    corrections = [leak_correction(count, trace, beta) for trace, beta in zip(traces, betas, strict=True)]
    axis.plot(betas, corrections, style, color=color, linewidth=2, label=f"a spike every {every} steps")
axis.set(xlabel="beta (decay per step)", ylabel="leak correction", ylim=(0.85, 1.005))
axis.legend()
plt.show()

# %% [markdown]
# ## 4. How good is the approximation?
#
# The derivative of the mean counts of figure 2, computed by finite differences, compared with that given by the rule,
# for the same neurons (mean over the inputs; 0 for neurons that did not fire).
#
# The rule is an approximation. It is best with a slow leak and many spikes. It is wrong where the count is not linear:
# for neurons that hardly fire, with a fast leak, where the reset to zero discards much of the input above the
# threshold, and for neurons that fire at nearly every step, whose count cannot grow (not in the figure; `"bounded"`
# takes this into account).

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
for axis, (beta, did) in zip(axes, activity.items(), strict=True):
    count = did["spike_count"].numpy().mean(0)
    true = (count[6:] - count[:-6]) / (total_input[6:] - total_input[:-6])
    axis.plot(total_input[3:-3], true, color=DARK_GREY, linewidth=2, label="difference of the mean count")
    axis.plot(total_input, did["leak_correction"].numpy().mean(0), "--", color=BLUE, linewidth=2, label="the rule")
    axis.set(xlabel="total input, in thresholds", title=f"beta = {beta}", ylim=(0, 1.5))
    axis.legend()
axes[0].set_ylabel("d spike count / d total input")
plt.show()

# %% [markdown]
# ## 5. The gradient of each time step
#
# There are two ways to propagate the error back through time. `"bptt"` goes back step by step: the input of a step
# gets the derivative of the next spike, or 0 after the last spike. `"accumulated"`, the default, uses totals over
# time: all steps get the same derivative, multiplied by the time of the last spike / T. The gradient of a weight is a
# sum over time.

# %%
x = tf.constant(current[None, :, None], tf.float32)
figure, axis = plt.subplots(figsize=(8, 3))
for gradient, color, style in (("bptt", ORANGE, "--"), ("accumulated", BLUE, "-")):
    rnn = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Identity(), beta=0.9), gradient=gradient)
    with tf.GradientTape() as tape:
        tape.watch(x)
        count = num_steps * tf.reduce_sum(rnn(x))  # the output is the firing rate
    of_steps = tape.gradient(count, x).numpy()[0, :, 0]
    axis.step(
        steps, of_steps, style, where="mid", color=color, linewidth=2, label=f"{gradient}, in all {of_steps.sum():.1f}"
    )
axis.vlines(steps[fired], -0.12, -0.04, color=DARK_GREY, linewidth=2)
axis.annotate("output spikes", (1, -0.3), color=DARK_GREY)
axis.set(xlabel="time step of the input", ylabel="d spike count / d input", ylim=(-0.35, 1.4))
axis.legend(ncols=2)
plt.show()

# %% [markdown]
# ## 6. In a whole network
#
# A small LeNet on real digits: both gradients of the same loss, for the same input spikes. A cosine of 1 means that
# they have the same direction, a ratio of 1 that they have the same length. `"accumulated"` saves the time and the
# memory of the backward pass through all steps ([benchmarks](../../docs/benchmarks.md)). With the same training, both
# reach [similar accuracies](../../docs/log/studies.md).

# %%
(digits, labels), _ = ksbp.datasets.mnist_5k()
spikes = ksbp.PoissonEncoder(num_steps=25, scale=0.5, seed=0)(digits[:32])


def lenet(gradient):
    """The same network for both: same seed, same weights."""
    network = {"stages": [(8, 5), "pool", (16, 5), "pool"], "dense_units": [64], "num_steps": 25}
    return ksbp.models.spiking_vgg((28, 28, 1), 10, **network, preset="paper", encoder=None, gradient=gradient, seed=0)


models = {gradient: lenet(gradient) for gradient in ("accumulated", "bptt")}
ksbp.calibrate(models["bptt"], spikes[:16], firing_rate=0.07)
models["accumulated"].set_weights(models["bptt"].get_weights())
found = {}
for gradient, model in models.items():
    with tf.GradientTape() as tape:
        loss = ksbp.losses.SparseSumSquaredError()(labels[:32], model(spikes, training=True))
    found[gradient] = [np.ravel(g) for g in tape.gradient(loss, model.trainable_weights)]

pairs = list(zip(found["accumulated"], found["bptt"], strict=True))
cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
ratios = [np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
names = ["conv1", "conv2", "fc1", "readout"]
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
titles = ("cosine of both gradients", "length, accumulated / bptt")
for axis, values, color, title in zip(axes, (cosines, ratios), (BLUE, ORANGE), titles, strict=True):
    axis.barh(names, values, color=color)
    axis.axvline(1, color=GREY, linewidth=1)
    for row, value in enumerate(values):
        axis.annotate(f"{value:.3f}", (1.35, row), ha="right", va="center")
    axis.set(xlabel=title, xlim=(0, 1.35))
axes[0].set_ylabel("layer")
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# Next: [a deep network on colour images](3_deep_network.ipynb).
