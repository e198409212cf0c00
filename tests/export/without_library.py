"""Runs exported files as their user would: in a process of its own, without the library.

python -I without_library.py SPIKES.npy FOLDER FILE...

Streams spikes (B, T, ...) through the step form, or calls the window form of a LiteRT file. Writes FOLDER/0.npz for the
first file, and so on: the `outputs` and, for each `membrane_<cell>`, where it is zero after each step: where the neuron
has fired, with reset to zero. (Zero is below 1e-6: where nothing fires but currents cancel, runtimes differ in the last
bit.)
"""

import sys

import numpy as np


def stream(step, names, shapes, spikes):
    """Calls `step(spikes, potentials)` for each time step; what it gave, (B, T, ...)."""
    potentials = {name: np.zeros((len(spikes), *shape), "float32") for name, shape in zip(names, shapes, strict=True)}
    given = {name: [] for name in ["outputs", *names]}
    for t in range(spikes.shape[1]):
        outputs, potentials = step(spikes[:, t], potentials)
        given["outputs"].append(outputs)
        for name in names:
            given[name].append(np.abs(potentials[name]) < 1e-6)
    return {name: np.stack(values, axis=1) for name, values in given.items()}


def saved_model(path, spikes):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures["step"]
    specs = signature.structured_input_signature[1]
    names = [name for name in specs if name != "spikes"]

    def step(now, potentials):
        new = signature(spikes=tf.constant(now), **{n: tf.convert_to_tensor(v) for n, v in potentials.items()})
        return new.pop("outputs"), new

    streamed = stream(step, names, [specs[name].shape[1:] for name in names], spikes)
    return {**streamed, "window": loaded.signatures["spikes"](spikes=tf.constant(spikes))["outputs"]}


def litert(path, spikes):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    if "spikes" in interpreter.get_signature_list():
        return {"window": interpreter.get_signature_runner("spikes")(spikes=spikes)["outputs"]}
    runner = interpreter.get_signature_runner("step")
    shapes = {name: detail["shape"][1:] for name, detail in runner.get_input_details().items() if name != "spikes"}

    def step(now, potentials):
        new = runner(spikes=now, **potentials)
        return new.pop("outputs"), new

    return stream(step, list(shapes), list(shapes.values()), spikes)


def onnx(path, spikes):
    from onnxruntime import InferenceSession

    session = InferenceSession(path)
    _, *states = session.get_inputs()
    names = [state.name for state in states]

    def step(now, potentials):
        outputs, *new = session.run(None, {"spikes": now, **potentials})
        return outputs, dict(zip(names, new, strict=True))

    return stream(step, names, [state.shape[1:] for state in states], spikes)


if __name__ == "__main__":
    spikes_file, folder, *files = sys.argv[1:]
    runs = [litert if file.endswith(".tflite") else onnx if file.endswith(".onnx") else saved_model for file in files]
    # those that need TensorFlow last
    for number, run in sorted(enumerate(runs), key=lambda entry: entry[1] is saved_model):
        np.savez(f"{folder}/{number}.npz", **run(files[number], np.load(spikes_file)))
        foreign = {"keras_spiking_bp"} if run is saved_model else {"keras_spiking_bp", "keras", "tensorflow"}
        assert not foreign & {name.partition(".")[0] for name in sys.modules}
