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

import keras_spiking_bp as ksbp
from keras_spiking_bp.datasets import speech

PATH = Path(__file__).with_name("recordings.json")


def features() -> dict[str, Any]:
    """The constants of `datasets.log_mel`, as data for JSON."""
    arrays = {name: np.asarray(value).tolist() for name, value in speech.constants().items()}
    return {"rate": speech._RATE, "hop": speech._HOP, **arrays}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    test = ksbp.datasets.load_spoken_digits(parser.parse_args(arguments).data_dir)[1]
    speakers, recordings = np.unique(test.speakers), []
    for digit in range(8):
        speaker = speakers[digit % len(speakers)]
        first = np.flatnonzero((test.labels == digit) & (test.speakers == speaker))[0]
        samples = base64.b64encode(test.audio[first].astype("<i2").tobytes()).decode()
        recordings.append({"digit": digit, "speaker": speaker, "samples": samples})
    source = "Free Spoken Digit Dataset by Zohar Jackson and contributors, CC BY-SA 4.0"
    PATH.write_text(json.dumps({"source": source, "recordings": recordings}) + "\n")


if __name__ == "__main__":
    main()
