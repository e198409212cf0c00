# %% [markdown]
# # Export and streaming
#
# A trained network can be exported to files that run without this library: on a server, on a phone, and one time step
# at a time. This requires `pip install '.[data,export]'`.

# %%
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from ai_edge_litert.interpreter import Interpreter

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.style import BLUE, GREY, ORANGE, STYLE

keras.utils.set_random_seed(0)
plt.rcParams.update(STYLE)
(x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k()

encoder = ksbp.PoissonEncoder(num_steps=20, scale=0.5, seed=0)
model = ksbp.models.spiking_vgg(
    (28, 28, 1), 10, stages=[(8, 5), "pool", (16, 5), "pool"], dense_units=[64], preset="paper", encoder=encoder, seed=0
)
ksbp.calibrate(model, x_train[:16], firing_rate=0.07)
model.compile(keras.optimizers.Adam(0.002), loss=ksbp.losses.SparseSumSquaredError())
history = model.fit(x_train, y_train, batch_size=32, epochs=3, verbose=0)

# %% [markdown]
# ## Three kinds of file
#
# A SavedModel accepts images. A file for LiteRT (formerly TensorFlow Lite) accepts spikes: those of the whole window in
# one call, or those of one step per call, optionally with 8-bit weights.

# %%
ksbp.export.export_saved_model(model, "saved_model", overwrite=True)
ksbp.export.export_litert(model, "window.tflite", overwrite=True)
ksbp.export.export_litert(model, "step.tflite", form="step", overwrite=True)
ksbp.export.export_litert(model, "step_int8.tflite", form="step", weights="int8", overwrite=True)

names = ["window.tflite", "step.tflite", "step_int8.tflite"]
sizes = [Path(name).stat().st_size / 1000 for name in names]
figure, axis = plt.subplots(figsize=(6, 1.9))
bars = axis.barh(names, sizes, color=[BLUE, BLUE, ORANGE])
axis.bar_label(bars, [f"{size:.0f}" for size in sizes], padding=3)
axis.invert_yaxis()
axis.margins(x=0.12)
axis.set(xlabel="size of the file (kB)")
plt.show()

# %% [markdown]
# ## A stream
#
# A step is a pure function from spikes and potentials to output and new potentials. Start with zeros, pass the new
# potentials to the next step, and divide the output by the number of steps so far. The interpreter is a small package;
# TensorFlow is not needed to run it.

# %%


class Stream:
    """A spiking network that sees one time step after the other."""

    def __init__(self, path):
        self.step = Interpreter(path).get_signature_runner("step")
        shapes = {name: of["shape"] for name, of in self.step.get_input_details().items() if name != "spikes"}
        self.potentials = {name: np.zeros(shape, "float32") for name, shape in shapes.items()}
        self.time = 0

    def see(self, spikes):
        """The output after one more step: one number a class."""
        self.time += 1
        self.potentials = self.step(spikes=spikes, **self.potentials)
        return self.potentials.pop("outputs")[0] / self.time


spikes = encoder.encode(x_test[:1], (1, 2)).numpy().astype("float32")  # (1, 20, 28, 28, 1)
stream = Stream("step.tflite")
outputs = np.array([stream.see(spikes[:, t]) for t in range(20)])

over_time = ksbp.SpikingRNN(model.get_layer("time").cell, return_sequences=True)
print("largest difference to the network in Keras:", np.abs(outputs - over_time(spikes)[0]).max())

# %% [markdown]
# ## Early exit
#
# A stream can stop as soon as the largest output exceeds the second by a margin. The steps after that are saved.

# %%
margin = 0.2
second, first = np.sort(outputs, axis=1)[:, -2:].T
sure = int(np.argmax(first - second > margin)) + 1 if (first - second > margin).any() else 20

steps, label = np.arange(1, 21), y_test[0]
figure, axis = plt.subplots(figsize=(7, 3.4))
axis.plot(steps, np.delete(outputs, label, axis=1), color=GREY, linewidth=1)
axis.plot(steps, outputs[:, label], color=BLUE, linewidth=2.5, label=f"the right class, {label}")
axis.axvline(sure, color=ORANGE, linestyle="--", label=f"leads by {margin}: step {sure}")
axis.set(xlabel="time step t", ylabel="output V[t] / t", xticks=[1, 5, 10, 15, 20])
axis.legend()
plt.show()

# %% [markdown]
# ## 8-bit weights
#
# This file has weights rounded to 8 bits. How often does it give the same prediction?

# %%
agree = 0
for i in range(min(50, len(x_test))):
    spikes = encoder.encode(x_test[i : i + 1], (1, i)).numpy().astype("float32")
    streams = [Stream(path) for path in ("step.tflite", "step_int8.tflite")]
    answers = [[stream.see(spikes[:, t]) for t in range(20)][-1].argmax() for stream in streams]
    agree += answers[0] == answers[1]
print(f"the same answer for {agree} of {i + 1} digits")

# %% [markdown]
# [Export](../../docs/export.md) describes all forms and formats, including ONNX. For other spiking libraries and
# neuromorphic chips, see [NIR](../../docs/nir.md).
