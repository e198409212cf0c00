# %% [markdown]
# # Listening: from recordings to a stream
#
# Sound has time in it: there is something new every 10 ms. This notebook trains a spiking network on spoken digits, and
# then runs it on a stream, frame by frame. It requires `pip install '.[data,export]'`. The recordings (Free
# Spoken Digit Dataset, CC BY-SA 4.0) are downloaded once.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_spiking_bp as ksbp
from keras_spiking_bp import analysis
from keras_spiking_bp.analysis.style import BLUE, GREY, ORANGE, STYLE

keras.utils.set_random_seed(0)
plt.rcParams.update(STYLE)
train, test = ksbp.datasets.load_spoken_digits()
print(train.series.shape, test.series.shape)

# %% [markdown]
# ## A recording
#
# `log_mel` makes a frame of 40 numbers every 10 ms: the logarithm of the power in 40 frequency bands,
# above the background. Shorter recordings are padded with -1 to a second.

# %%
figure, axis = plt.subplots(figsize=(7, 2.8))
frames = test.series[0][test.mask[0]]
image = axis.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=(0, 10 * len(frames), 0, 40))
figure.colorbar(image, label="above the background")
axis.set(xlabel="time (ms)", ylabel="frequency band", title=f"a {test.labels[0]}, spoken by {test.speakers[0]}")
plt.show()

# %% [markdown]
# ## Training
#
# Each frame is a time step. The spikes of 256 leaky neurons go back to all of them, and to the readout. Some neurons
# forget within a frame, some remember half a second; training adjusts how long. `Masking` leaves out the padding.
# `calibrate` makes the neurons fire before training begins.

# %%
network = ksbp.models.spiking_speech(seed=0)
series = keras.Input((None, 40), name="series")
model = keras.Model(series, network.get_layer("time")(keras.layers.Masking(-1.0)(series)))
ksbp.calibrate(model, train.series[:256], firing_rate=0.1, output_std=0.7)

epochs = 10
rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * (len(train.labels) // 32 + 1))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0), loss, metrics=["accuracy"])
history = model.fit(train.series, train.labels, batch_size=32, epochs=epochs, verbose=0)

# %% [markdown]
# ## The test recordings
#
# There is an output, and so a guess, at each step. `early_exit` stops a recording when the largest output leads the
# second by a margin: a smaller one saves steps, and costs accuracy.

# %%
done = analysis.run(model, test.series, test.labels, verbose=0)
correct = done.correct()[:, -1]
print(f"test accuracy: {correct.mean():.3f}")
print(analysis.accuracy_over_time(done).early_exit([6, 8, 10, 12]))

# %% [markdown]
# ## Spikes in speech and in silence
#
# What does the network do when nobody speaks? Here every test recording is followed by half a second of silence.

# %%
silence = ksbp.datasets.log_mel(np.zeros(4200, "int16"))  # 51 frames
followed = [np.concatenate([frames[mask], silence]) for frames, mask in zip(test.series, test.mask, strict=True)]
lengths = test.mask.sum(1)
series = keras.utils.pad_sequences(followed, dtype="float32", padding="post", value=-1)
per_frame = sum(analysis.run(model, series, verbose=0).spikes.values())
in_speech = np.arange(per_frame.shape[1]) < lengths[:, None]
in_silence = ~in_speech & (np.arange(per_frame.shape[1]) < lengths[:, None] + len(silence))
print(f"spikes a second, of 256 neurons: {100 * per_frame[in_speech].mean():,.0f} in speech", end=", ")
print(f"{100 * per_frame[in_silence].mean():,.0f} in silence")

figure, axis = plt.subplots(figsize=(7, 2.8))
shown = per_frame[0][: lengths[0] + len(silence)]
axis.bar(10 * np.arange(len(shown)), shown, width=10, color=np.where(in_speech[0][: len(shown)], BLUE, GREY))
axis.margins(x=0)
axis.set(xlabel="time (ms)", ylabel="spikes of a frame", title="speech (blue), then silence (grey)")
plt.show()

# %% [markdown]
# Feedback keeps the neurons firing after a word. A program need not run the network until the next word begins; then it
# starts anew, from rest.
#
# ## One step as a file
#
# The file holds one time step: a frame and the state go in, the potentials and the new state come out. It takes the
# network without `Masking`: a stream has no padding. The class keeps the state.

# %%
ksbp.export.export_litert(network, "step.tflite", form="step", overwrite=True)


class Stream:
    """A network that hears a recording in chunks of any size."""

    def __init__(self, path):
        self.step = Interpreter(path).get_signature_runner("step")
        self.state = {name: np.zeros(of["shape"], "float32") for name, of in self.step.get_input_details().items()}
        self.log_mel, self.time = ksbp.datasets.LogMel(), 0

    def hear(self, samples):
        """The outputs after each frame that is complete now."""
        for frame in self.log_mel(samples):
            self.state = self.step(**self.state | {"spikes": frame[None]})
            self.time += 1
            yield self.state.pop("outputs")[0] / self.time


# %% [markdown]
# ## A stream
#
# A recording arrives in chunks of 20 ms. The network decides as soon as the largest output leads by the margin.

# %%
margin = 8
lead = np.diff(np.sort(done.outputs)[..., -2:])[..., 0]  # of each recording at each step
early = (lead > margin).argmax(1)
chosen = int(np.argmax((early > 0) & done.correct()[np.arange(len(early)), early]))  # the first recognised early
audio, label = test.audio[chosen], test.labels[chosen]
stream = Stream("step.tflite")
outputs = np.array([output for chunk in np.split(audio, range(160, len(audio), 160)) for output in stream.hear(chunk)])
print("largest difference to the window:", np.abs(outputs[-1] - done.outputs[chosen, -1]).max())

at = np.argmax(np.diff(np.sort(outputs)[:, -2:])[:, 0] > margin)
time = 25 + 10 * np.arange(len(outputs))
figure, axis = plt.subplots(figsize=(7, 3.4))
axis.plot(time, np.delete(outputs, label, axis=1), color=GREY, linewidth=1)
axis.plot(time, outputs[:, label], color=BLUE, linewidth=2.5, label=f"the right class, {label}")
axis.axvline(time[at], color=ORANGE, linestyle="--", label=f"decided after {time[at]} ms: {outputs[at].argmax()}")
axis.set(xlabel="time (ms)", ylabel="output V[t] / t")
axis.legend()
plt.show()

# %% [markdown]
# ## Operations and energy
#
# Spikes are added, the frames are multiplied. Beside it the same connections without spikes, which multiply at every
# step: for each recording, with the costs of arithmetic alone.

# %%
print(analysis.energy(done))

# %% [markdown]
# `examples/listen.py` streams recordings without TensorFlow, features included.
# [Time series](../../docs/howto/time-series.md) describes masks, labels at each step and settings.
