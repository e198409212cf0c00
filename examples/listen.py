"""Recognises spoken digits in a stream, in a process without TensorFlow.

`python -m examples.listen --export digits.tflite` writes the packaged network, and digits.npz for the features.
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
    """Writes a time step of the packaged network, and beside it what the features are made with."""
    import keras_spiking_bp as ksbp
    from keras_spiking_bp.datasets import speech

    ksbp.export.export_litert(ksbp.models.load_pretrained("spoken_digits"), path, "step", overwrite=True)
    np.savez(Path(path).with_suffix(".npz"), **speech.constants())


class LogMel:
    """The frames of a stream of 16-bit samples, as `datasets.LogMel` computes them."""

    def __init__(self, constants):
        self.constants, self.rest, self.background = constants, np.zeros(0), 0

    def __call__(self, chunk):
        window, filters, floor, scale, adaptation = self.constants.values()
        samples = np.concatenate([self.rest, chunk])
        starts = np.arange(0, len(samples) - len(window) + 1, HOP)
        self.rest = samples[HOP * len(starts) :]
        sound = samples[starts[:, None] + np.arange(len(window))] / 2**15 * window
        power = np.abs(np.fft.rfft(sound, 2 * len(filters) - 2)) ** 2
        for bands in np.log1p(power @ filters / floor) / scale:
            self.background += adaptation * (bands - self.background)
            frame = bands - self.background
            yield (frame - frame.mean()).astype("float32")


def hear(path, constants, chunks):
    """For each frame of a stream: the outputs V[t] / t, and seconds of computing."""
    from ai_edge_litert.interpreter import Interpreter

    step = Interpreter(str(path), num_threads=1).get_signature_runner("step")
    state = {name: np.zeros(tensor["shape"], "float32") for name, tensor in step.get_input_details().items()}
    log_mel, t = LogMel(constants), 0
    for chunk in chunks:
        start = time.perf_counter()
        for frame in log_mel(chunk):
            state, t = step(**state | {"spikes": frame[None]}), t + 1
            yield state.pop("outputs")[0] / t, time.perf_counter() - start
            start = time.perf_counter()


def read(path):
    """A recording in chunks."""
    with wave.open(path) as file:
        if file.getparams()[:3] != (1, 2, RATE) or file.getnframes() < 200:
            raise wave.Error("{} channels of {} bytes, {} samples a second, {} in all".format(*file.getparams()))
        while data := file.readframes(HOP):
            yield np.frombuffer(data, "<i2")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a .tflite file")
    parser.add_argument("recordings", nargs="*", help="16-bit WAV files, 8 kHz, one channel, 25 ms or more")
    parser.add_argument("--export", action="store_true", help="write the network")
    parser.add_argument("--margin", type=float, default=12, help="from which a guess is certain: analysis.early_exit")
    args = parser.parse_args(arguments)
    if args.export:
        return export(args.network)
    constants = dict(np.load(Path(args.network).with_suffix(".npz")))
    print("guess  after (s)  at the end, (s)  ms a frame, 99 %   recording")
    for recording in args.recordings:
        try:
            frames = list(hear(args.network, constants, read(recording)))
        except wave.Error as error:
            sys.exit(f"{recording}: {error}. Make it a WAV: ffmpeg -i IN -ac 1 -ar 8000 -c:a pcm_s16le OUT.wav")
        outputs, seconds = (np.array(column) for column in zip(*frames, strict=True))
        second, first = np.sort(outputs)[:, -2:].T
        at = [*np.flatnonzero(first - second > args.margin), len(outputs) - 1][0]
        after, length = ((t * HOP + len(constants["window"])) / RATE for t in (at, len(outputs) - 1))
        print(f"{outputs[at].argmax():5}  {after:9.3f}  {outputs[-1].argmax():8} {length:6.3f}", end="  ")
        print("{:10.3f} {:5.3f}".format(*np.percentile(1000 * seconds, [50, 99])), end=f"   {recording}\n")


if __name__ == "__main__":
    main()
