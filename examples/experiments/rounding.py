"""What a deep spiking network loses to the rounding of its rates: 10,000 CIFAR-10 images, 8 epochs.

python -m examples.experiments.rounding [--ann | --rounded | --signed] [--blocks 6] [...]
python -m examples.experiments.rounding --table FILE

Compares the network of `deep_residual` with its ANN, and with the ANN whose ReLU is rounded to spike counts
(`--rounded`). The latter loses only to rounding.
"""

from __future__ import annotations

from examples.experiments import deep_residual
from examples.experiments.short_trainings import ShortTrainings

#: The networks, with their options.
NETWORKS = {
    "--ann": "ReLU, an ANN",
    "--rounded": "ReLU rounded to 0, 1/4, ... 1",
    "--surrogate triangle --scale-surrogate": "spiking",
    "--signed --surrogate triangle --scale-surrogate": "spiking, signed",
}
#: The rows of the table in docs/log/studies.md.
TABLE = {
    f"{options} --blocks {blocks} --seeds 3": f"{layers} layers: {title}"
    for layers, blocks in ((22, 3), (40, 6))
    for options, title in NETWORKS.items()
} | {"--signed --blocks 3": "22 layers: spiking, signed, surrogate `bounded`"}

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
