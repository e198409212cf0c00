"""Event-driven C beside a dense C program and LiteRT: instructions and time of a sample.

python -m benchmarks.microcontroller --data-dir FOLDER [--output docs/microcontroller.json]

Needs gcc, gcc-arm-none-eabi and qemu-system-arm. Instructions are all those that a Cortex-M4 in QEMU executes in the
steps of a sample, without its encoder; times are processor time of one core of this machine. The dense program
(`microcontroller_c/dense.c`) is the same layers with ReLU: one pass over an image, a step for each frame of sound.
`python -m docs.build.microcontroller_table` writes the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_spiking_bp as ksbp
from benchmarks.machine import hide_gpus
from examples.experiments.machine import machine
from examples.experiments.pretrained import images_of
from examples.experiments.report import command, write

SOURCES = Path(__file__).parent / "microcontroller_c"
SAMPLES, ON_DEVICE, DIMMED = 20, 10, (0.25, 0.5, 0.75)  # dimmed samples have fewer events
DECIDED, ALLOWED = 1000, 0.001  # images of the early exit; what it may lose on as many training images
EXITS = 100  # images whose cost with an early exit is measured
M4 = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
LINKED = f"--specs=rdimon.specs -nostartfiles -T {SOURCES / 'cortex_m.ld'}"
#: Compiler, options and those of the linker; the first counts instructions.
TARGETS = {
    "cortex_m4": ("arm-none-eabi-gcc", f"{M4} -O2 -fno-tree-vectorize", LINKED),
    "scalar": ("gcc", "-O2 -fno-tree-vectorize", ""),
    "vector": ("gcc", "-O3 -march=native", ""),
}
QEMU = "qemu-system-arm -M mps2-an386 -icount shift=0 -nographic -semihosting -kernel"
LARGEST = 16 * 2**20  # bytes of weights in the machine of QEMU


@dataclasses.dataclass(frozen=True)
class Case:
    """A packaged network; `steps` 0: one for each frame. Samples are (frames, ...), one frame of an image."""

    model: keras.Model
    steps: int
    samples: list[np.ndarray]
    images: dict[str, tuple[np.ndarray, np.ndarray]] | None = None


def cases(data_dir: str) -> dict[str, Callable[[], Case]]:
    def of_images(name: str, steps: int) -> Case:
        data = images_of(name, data_dir)
        splits = {"test": data.test, "train": data.train}
        images = {split: (data.normalised(x[:DECIDED]), y[:DECIDED]) for split, (x, y) in splits.items()}
        samples = list(images["test"][0][:SAMPLES, None])
        decides = images if name == "mnist" else None
        return Case(ksbp.models.load_pretrained(name, steps), steps, samples, decides)

    def of_speech() -> Case:
        test = ksbp.datasets.load_spoken_digits(data_dir)[1]
        samples = [series[mask] for series, mask in zip(test.series[::12], test.mask[::12], strict=True)][:SAMPLES]
        return Case(ksbp.models.load_pretrained("spoken_digits"), 0, samples)

    return {
        "mnist": lambda: of_images("mnist", 25), "spoken_digits": of_speech, "cifar10": lambda: of_images("cifar10", 4)
    }  # fmt: skip


class Programs:
    """The exported C in a folder, compiled for each target when it is first run."""

    def __init__(self, folder: Path, case: Case, weights: str):
        self.folder, self.steps = folder, case.steps
        self.memory = ksbp.export.export_c(case.model, folder, weights)

    def run(
        self, samples: list[np.ndarray], target: str, dense: bool = False, margin: float = -1, count: bool = False,
        trace: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Of each sample: the outputs after each step if `trace`, then steps, spikes, additions and the cost."""
        compiler, options, linked = TARGETS[target]
        weights = self.folder / f"{compiler}.o"
        if not weights.exists():
            subprocess.run([compiler, *options.split(), "-c", "weights.c", "-o", weights], cwd=self.folder, check=True)
        defined = {"STEPS": self.steps, "DENSE": int(dense), "MARGIN": margin, "COUNT": int(count), "TRACE": int(trace)}
        program = SOURCES / "dense.c" if dense else "network.c"
        subprocess.run(
            [compiler, *options.split(), "-I.", *(f"-D{name}={value}" for name, value in defined.items()),
             SOURCES / "driver.c", program, weights, *linked.split(), "-o", "program"],
            cwd=self.folder, check=True,
        )  # fmt: skip
        with (self.folder / "samples.bin").open("wb") as file:
            for sample in samples:
                np.float32(len(sample)).tofile(file)
                sample.astype("float32").tofile(file)
        start = [*QEMU.split(), "program"] if target == "cortex_m4" else ["./program"]
        printed = subprocess.run(start, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        return np.array([[float(number) for number in line.split()] for line in printed.splitlines()])


def line(rows: np.ndarray) -> dict:
    """Instructions a step = slope * additions a step + intercept."""
    steps, _, additions, instructions = rows.T
    x, y = additions / steps, instructions / steps
    slope, intercept = np.polyfit(x, y, 1)
    return {"slope": slope, "intercept": intercept, "r2": np.corrcoef(x, y)[0, 1] ** 2}


def in_c(programs: Programs, case: Case) -> dict:
    few = case.samples[:ON_DEVICE]
    rows = {"memory": programs.memory, "event_driven": {}, "dense": {}}
    fits = programs.memory["flash"] < LARGEST
    for target in ("scalar", "vector"):
        for way in ("event_driven", "dense"):
            costs = programs.run(case.samples, target, way == "dense")[:, -1]
            rows[way][f"{target}_ms"] = np.median(costs) / 1e6
    dimmed = [factor * sample for factor in DIMMED for sample in few[::2]] + [0 * few[0]]
    counted = programs.run(few + dimmed, "scalar", count=True)
    rows["event_driven"] |= {"spikes": counted[: len(few), 1].mean(), "additions": counted[: len(few), 2].mean()}
    if fits:
        on_device = programs.run(few + dimmed, "cortex_m4")
        on_device[:, 2] = counted[:, 2]
        rows["event_driven"] |= {"instructions": on_device[: len(few), 3].mean(), "line": line(on_device)}
        of_dense = programs.run(few[: 1 if case.steps else None], "cortex_m4", dense=True)
        rows["dense"]["instructions"] = of_dense[:, 3].mean()
    return rows


def decided(outputs: np.ndarray, labels: np.ndarray, margin: float) -> tuple[float, float]:
    """Accuracy and mean number of steps with an early exit; outputs (B, T, classes)."""
    largest = np.sort(outputs, -1)
    sure = largest[..., -1] - largest[..., -2] > margin
    sure[:, -1] = True
    last = sure.argmax(1)
    return float((outputs[np.arange(len(last)), last].argmax(-1) == labels).mean()), float((last + 1).mean())


def early_exit(programs: Programs, case: Case) -> dict:
    """The smallest margin with which the accuracy on training images stays; what it gives on test images."""
    traced = {}
    for name, (images, labels) in case.images.items():
        rows = programs.run(list(images[:, None]), "vector", trace=True)[:, :-4]
        traced[name] = (rows.reshape(len(rows), case.steps, -1), labels)
    whole, _ = decided(*traced["train"], np.inf)
    grid = np.linspace(0, 1, 201) * np.abs(traced["train"][0][:, -1]).max()
    margin = next(float(of) for of in grid if decided(*traced["train"], of)[0] >= whole - ALLOWED)
    accuracy, steps = decided(*traced["test"], margin)
    few = list(case.images["test"][0][:EXITS, None])
    return {
        "margin": margin,
        "images": len(traced["test"][1]),
        "accuracy": accuracy,
        "accuracy_of_all_steps": decided(*traced["test"], np.inf)[0],
        "steps": steps,
        "instructions": programs.run(few, "cortex_m4", margin=margin)[:, 3].mean(),
        **{
            f"{target}_ms": programs.run(few, target, margin=margin)[:, 3].mean() / 1e6
            for target in ("scalar", "vector")
        },
    }


def ann_of(case: Case) -> keras.Model:
    """The ANN of the same layers; for speech its step, on a frame and the activations before it."""
    if case.steps:
        return ksbp.ann_counterpart(case.model)
    into, back, out = (weight.shape for weight in case.model.weights if len(weight.shape) == 2)
    hidden = keras.layers.Dense(back[1], "relu")
    return keras.Sequential([keras.Input((into[0] + back[0],)), hidden, keras.layers.Dense(out[1])])


def ann_in_litert(case: Case, path: Path, weights: str) -> Callable[[np.ndarray], object]:
    """Runs the ANN; with int8 also its activations have 8 bits."""
    ann = ann_of(case)
    places = np.zeros((1, *ann.input_shape[1:]), "float32")

    def seen(frame: np.ndarray) -> np.ndarray:
        places[..., : frame.shape[-1]] = frame
        return places

    ann.export(str(path.with_suffix("")), verbose=False, input_signature=[tf.TensorSpec(places.shape)])
    converter = tf.lite.TFLiteConverter.from_saved_model(str(path.with_suffix("")))
    if weights == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([seen(frame)] for sample in case.samples for frame in sample[:20])
    path.write_bytes(converter.convert())
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,), (leaving,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(frame: np.ndarray) -> object:
        interpreter.set_tensor(entry["index"], seen(frame))
        interpreter.invoke()
        return interpreter.get_tensor(leaving["index"])

    return run


def in_litert(model: keras.Model, path: Path, weights: str) -> Callable[[np.ndarray], object]:
    """Runs the next time step of the spiking network."""
    ksbp.export.export_litert(model, path, "step", weights=weights)
    step = Interpreter(str(path)).get_signature_runner("step")
    state = {n: np.zeros(of["shape"], "float32") for n, of in step.get_input_details().items() if n != "spikes"}

    def run(x: np.ndarray) -> object:
        state.update(step(spikes=x, **state))
        return state.pop("outputs")

    return run


def frames_of(case: Case, sample: np.ndarray) -> np.ndarray:
    """What the spiking network sees at each step, (steps, ...)."""
    encoder = next((of for of in case.model.layers if hasattr(of, "num_steps") and hasattr(of, "scale")), None)
    if isinstance(encoder, ksbp.PoissonEncoder):
        return ksbp.export.poisson_spikes(sample, case.steps, 0, encoder.scale)[0].astype("float32")
    return np.repeat(sample, case.steps, 0) * encoder.scale if encoder else sample


def milliseconds(run: Callable[[np.ndarray], object], samples: list[np.ndarray]) -> float:
    """The median of samples of (frames, ...), after one of them for warming up."""
    times = []
    for sample in [samples[0], *samples]:
        begin = time.process_time()
        for frame in sample:
            run(frame[None].astype("float32"))
        times.append(1e3 * (time.process_time() - begin))
    return float(np.median(times[1:]))


def measured(case: Case) -> dict:
    found = {"steps": case.steps or float(np.mean([len(sample) for sample in case.samples[:ON_DEVICE]]))}
    for weights in ("float32", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            programs = Programs(Path(folder) / "c", case, weights)
            rows = in_c(programs, case)
            if case.images:
                rows["event_driven"]["early_exit"] = early_exit(programs, case)
            ann = ann_in_litert(case, Path(folder) / "ann.tflite", weights)
            rows["litert_ann_ms"] = milliseconds(ann, case.samples)
            spiking = in_litert(case.model, Path(folder) / "step.tflite", weights)
            rows["litert_spiking_ms"] = milliseconds(spiking, [frames_of(case, sample) for sample in case.samples])
        found[weights] = rows
    return found


def rounded(value: object) -> object:
    """Numbers of a report to six digits."""
    if isinstance(value, dict):
        return {key: rounded(of) for key, of in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> None:
    hide_gpus()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, help="folder of prepared data")
    parser.add_argument("--networks", nargs="+", help="not all three")
    parser.add_argument("--output", type=Path, default=Path("docs/microcontroller.json"))
    args = parser.parse_args(arguments)
    versions = {
        name: subprocess.check_output([name, "--version"], text=True).splitlines()[0]
        for name in ("gcc", "arm-none-eabi-gcc", "qemu-system-arm")
    }
    report = {"command": command(arguments, "benchmarks.microcontroller"), "machine": machine(), "versions": versions}
    report["networks"] = {}
    for name, case in cases(args.data_dir).items():
        if name in (args.networks or [name]):
            report["networks"][name] = rounded(measured(case()))
            print(name, report["networks"][name], flush=True)
            write(args.output, report)


if __name__ == "__main__":
    main()
