"""Where the tests on real data find it; without it they are skipped.

The folder is `$KERAS_SPIKING_BP_TEST_DATA`, or `shared` beside the repository: `data/tfds` (MNIST as prepared by
TensorFlow Datasets), `data/nmnist_small` (N-MNIST recordings), `nir` (networks of the NIR paper).
"""

import os
from pathlib import Path

import pytest

from tests.pages import ROOT

FOLDER = Path(os.environ.get("KERAS_SPIKING_BP_TEST_DATA") or ROOT.parent / "shared")
TFDS, NMNIST, NIR = FOLDER / "data" / "tfds", FOLDER / "data" / "nmnist_small", FOLDER / "nir"


def needs(*folders):
    """Skips a test where one of these folders is missing."""
    missing = [str(folder.relative_to(FOLDER)) for folder in folders if not folder.exists()]
    return pytest.mark.skipif(
        bool(missing), reason=f"no {', '.join(missing)} in the folder of real data, $KERAS_SPIKING_BP_TEST_DATA"
    )
