"""Recognises spoken digits in a stream, in a process without TensorFlow.

`python -m examples.listen --export digits.tflite` writes the packaged network, and digits.npz with what else is needed.
`python examples/listen.py digits.tflite recording.wav ...` needs these files, this one, numpy and ai-edge-litert alone.
"""

import argparse
import sys
import time
import wave
from pathlib import Path

import numpy as np

RATE, HOP = 8000, 80


def export(path):
    """Writes a time step of the packaged network, and beside it filters of the features and the costs of a spike."""
    import keras_spiking_bp as ksbp
    from keras_spiking_bp.datasets import speech

    model = ksbp.models.load_pretrained("spoken_digits")
    ksbp.export.export_litert(model, path, "step", overwrite=True)
    done = ksbp.analysis.run(model, np.ones((1, 1, 40), "float32"), verbose=0)
    reached = {"input": 0, **dict.fromkeys(done.neurons, 0)}  # synapses, by a value of the input and by a spike
    for connection, synapses in zip(done.connections, done.synapses, strict=True):
        reached[connection.source] += synapses / np.prod(connection.source_shape)
    costs = ksbp.analysis.Costs()
    of_spikes = {"reached": [*reached.values()], "energy": [costs.mac, costs.accumulate]}
    np.savez(Path(path).with_suffix(".npz"), **of_spikes, **speech.constants())


def log_mel(samples, constants):
    """The frames of 16-bit samples, as `datasets.log_mel` computes them."""
    starts, frame = np.arange(0, len(samples) - len(constants["window"]) + 1, HOP), np.arange(len(constants["window"]))
    sound = samples[starts[:, None] + frame] / 2**15 * constants["window"]
    power = np.abs(np.fft.rfft(sound, 2 * len(constants["filters"]) - 2)) ** 2
    return (
        (np.log(power @ constants["filters"] + constants["floor"]) - constants["mean"]) / constants["deviation"]
    ).astype("float32")


def hear(path, constants, chunks):
    """For each frame of a stream: the outputs V[t] / t, (nonzero inputs, spikes), and seconds of computing."""
    from ai_edge_litert.interpreter import Interpreter

    step = Interpreter(str(path), num_threads=1).get_signature_runner("step")
    state = {name: np.zeros(tensor["shape"], "float32") for name, tensor in step.get_input_details().items()}
    rest, t = np.zeros(0, "int16"), 0
    for chunk in chunks:
        start = time.perf_counter()
        rest = np.concatenate([rest, chunk])
        frames = log_mel(rest, constants)
        rest = rest[HOP * len(frames) :]
        for frame in frames:
            state, t = step(**state | {"spikes": frame[None]}), t + 1
            outputs = state.pop("outputs")[0] / t
            spikes = sum(np.count_nonzero(state[name]) for name in state if name.startswith("fed_back"))
            yield outputs, (np.count_nonzero(frame), spikes), time.perf_counter() - start
            start = time.perf_counter()


def read(path):
    """A recording in chunks, and a second of silence after it."""
    with wave.open(path) as file:
        if file.getparams()[:3] != (1, 2, RATE) or file.getnframes() < 200:
            raise wave.Error("{} channels of {} bytes, {} samples a second, {} in all".format(*file.getparams()))
        while data := file.readframes(HOP):
            yield np.frombuffer(data, "<i2")
    yield from np.zeros((RATE // HOP, HOP), "int16")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a .tflite file")
    parser.add_argument("recordings", nargs="*", help="16-bit WAV files, 8 kHz, one channel, 25 ms or more")
    parser.add_argument("--export", action="store_true", help="write the network")
    parser.add_argument("--margin", type=float, default=20, help="from which a guess is certain: analysis.early_exit")
    args = parser.parse_args(arguments)
    if args.export:
        return export(args.network)
    constants = dict(np.load(Path(args.network).with_suffix(".npz")))
    print("guess  after (s)  at the end, (s)  ms a frame, 99 %  spikes/s, in silence   recording")
    counted = []
    for recording in args.recordings:
        try:
            frames = list(hear(args.network, constants, read(recording)))
        except wave.Error as error:
            sys.exit(f"{recording}: {error}. Make it a WAV: ffmpeg -i IN -ac 1 -ar 8000 -c:a pcm_s16le OUT.wav")
        outputs, counts, seconds = (np.array(column) for column in zip(*frames, strict=True))
        outputs = outputs[: -RATE // HOP]  # of the recording, without the silence
        second, first = np.sort(outputs)[:, -2:].T
        at = [*np.flatnonzero(first - second > args.margin), len(outputs) - 1][0]
        after, length = ((t * HOP + len(constants["window"])) / RATE for t in (at, len(outputs) - 1))
        counted.append((counts[: len(outputs)], counts[len(outputs) :]))
        sound, silence = (RATE / HOP * part[:, 1].mean() for part in counted[-1])
        print(f"{outputs[at].argmax():5}  {after:9.3f}  {outputs[-1].argmax():8} {length:6.3f}", end="  ")
        print("{:10.3f} {:5.3f}".format(*np.percentile(1000 * seconds, [50, 99])), end="  ")
        print(f"{sound:8,.0f}  {silence:10,.0f}   {recording}")
    for name, parts in zip(("sound", "silence after it"), zip(*counted, strict=True), strict=False):
        macs, accumulates = RATE / HOP * np.concatenate(parts).mean(0) * constants["reached"]
        energy = np.dot(constants["energy"], [macs, accumulates]) / 1e6
        print(f"a second of {name}: {accumulates:,.0f} accumulates, {macs:,.0f} multiply-accumulates, {energy:.2f} uJ")


if __name__ == "__main__":
    main()
