"""Exports a network to SavedModel, LiteRT and ONNX, which run without this library: python -m examples.export."""

import argparse
from pathlib import Path

import keras

import keras_spiking_bp as ksbp


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a .keras file; without one: the packaged LeNet")
    parser.add_argument("--output", type=Path, default=Path("exported"), help="folder for the files")
    parser.add_argument("--num-steps", type=int, help="of a whole window in LiteRT (default: the model's)")
    parser.add_argument("--batch-size", type=int, default=1, help="of LiteRT")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args(arguments)
    if args.model is None:
        model = ksbp.models.load_pretrained("mnist", num_steps=args.num_steps or 25)
    else:
        model = keras.models.load_model(args.model)
    args.output.mkdir(parents=True, exist_ok=True)

    files = [args.output / "saved_model"]
    ksbp.export.export_saved_model(model, files[0], overwrite=args.overwrite)
    for form, num_steps in (("window", args.num_steps), ("step", None)):
        for weights in ("float32", "int8"):
            files.append(args.output / f"{form}_{weights}.tflite")
            how = {"num_steps": num_steps, "batch_size": args.batch_size, "weights": weights}
            ksbp.export.export_litert(model, files[-1], form, overwrite=args.overwrite, **how)
    files.append(args.output / "step.onnx")
    ksbp.export.export_onnx(model, files[-1], overwrite=args.overwrite)
    for path in files:
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]))
        print(f"{path}  {size / 1e6:.2f} MB")
    return files


if __name__ == "__main__":
    main()
