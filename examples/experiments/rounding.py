"""What a deep spiking network loses to the rounding of its rates: 10,000 CIFAR-10 images, 8 epochs.

python -m examples.experiments.rounding [--ann | --rounded] [--num-steps 8] [...]
python -m examples.experiments.rounding --table FILE

Compares the network of `deep_residual` with its ANN, and with the ANN whose ReLU is rounded to spike counts
(`--rounded`). The latter loses only to rounding.
"""

from __future__ import annotations

from examples.experiments import deep_residual
from examples.experiments.short_trainings import ShortTrainings

#: The rows of the table in docs/log/studies.md: the network, and the options.
TABLE = {
    "--ann": "ReLU, an ANN",
    "--rounded --num-steps 4": "ReLU rounded to 0, 1/4, ... 1",
    "--num-steps 4": "spiking",
    "--num-steps 4 --surrogate triangle --scale-surrogate": "spiking, a surrogate as wide as the threshold",
    "--rounded --num-steps 8": "ReLU rounded to 0, 1/8, ... 1",
    "--num-steps 8": "spiking",
}

TRAININGS = ShortTrainings(
    __doc__.splitlines()[0],
    deep_residual.network,
    TABLE,
    deep_residual.add_options,
    {"images": 10_000, "epochs": 8},
)
main = TRAININGS.main

if __name__ == "__main__":
    main()
