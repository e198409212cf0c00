"""What the page of spoken digits needs beside its network: how to make frames of sound, and recordings to choose from.

python -m docs.watch.speech [--data-dir FOLDER]

Writes `recordings.json` beside this file: of eight digits, the first recording of the test set by one of the speakers.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets import speech

PATH = Path(__file__).with_name("recordings.json")


def features() -> dict[str, Any]:
    """The constants of `datasets.log_mel`, as data for JSON."""
    bins, rate = speech._FFT // 2 + 1, speech._RATE
    filters = tf.signal.linear_to_mel_weight_matrix(speech._BANDS, bins, rate, 20.0, rate / 2, tf.float64)
    return {
        "rate": rate,
        "hop": speech._HOP,
        "window": tf.signal.hann_window(speech._FRAME, dtype=tf.float64).numpy().tolist(),
        "filters": filters.numpy().tolist(),
        "floor": speech._FLOOR,
        "mean": speech._MEAN,
        "deviation": speech._DEVIATION,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    test = ksbp.datasets.load_spoken_digits(parser.parse_args(arguments).data_dir)[1]
    speakers, found = np.unique(test.speakers), []
    for digit in range(8):
        speaker = speakers[digit % len(speakers)]
        first = np.flatnonzero((test.labels == digit) & (test.speakers == speaker))[0]
        samples = base64.b64encode(test.audio[first].astype("<i2").tobytes()).decode()
        found.append({"digit": digit, "speaker": speaker, "samples": samples})
    of = "Free Spoken Digit Dataset by Zohar Jackson and contributors, CC BY-SA 4.0"
    PATH.write_text(json.dumps({"of": of, "recordings": found}) + "\n")


if __name__ == "__main__":
    main()
