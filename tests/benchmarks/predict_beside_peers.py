"""A whole scan to its mask: kseg beside MONAI and nnU-Net, from the start of a process to the mask on the disk.

Usage: python tests/benchmarks/predict_beside_peers.py [--shape 512 512 400] [--patch 96 96 96] [--preset kseg midl2021]
       [--sides keras savedmodel onnx monai nnunet] [--limit MINUTES] [--repeats 1] [--cores 2]
       [--peers .venv-monai/bin/python] [--plain .venv-plain/bin/python] [--out build/predict-beside-peers]

kseg's networks are trained for a few steps on made-up legs, so that masks are of one piece; the peers' weights are
random. All sides read the same uncompressed NIfTI file and move the same windows over it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
from drawing import memory
from rich.table import Table

from kseg.console.tensorflow_start import TENSORFLOW_SETTINGS
from kseg.console.terminal import stdout
from kseg.inference.windows import windows
from kseg.runs.run_folder import RunFolder

HERE = Path(__file__).parent
NAMES = {
    "keras": "kseg predict",
    "savedmodel": "SavedModel, TensorFlow alone",
    "onnx": "ONNX Runtime in kseg predict",
    "monai": "MONAI, UNet",
    "nnunet": "nnU-Net, 3d_fullres",
}
OWN = ("keras", "savedmodel", "onnx")
PRESETS = ("kseg", "midl2021")
OVERLAP = 0.5
CLASSES = 4
TRAINING_STEPS = 40
LOOK_EVERY_S = 2.0


def main():
    options = parse()
    os.environ.update({"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": str(options.cores)})
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    options.out.mkdir(parents=True, exist_ok=True)
    scan = made_scan(options.shape, options.out / "scans")
    runs = {preset: trained_run(preset, options) for preset in options.preset if {*OWN} & {*options.sides}}
    commands = {}
    for side in options.sides:
        for preset in runs if side in OWN else [""]:
            commands[side, preset] = command_of(side, runs.get(preset), scan, options)
    count = len(windows(options.shape, options.patch, OVERLAP))
    found = {key: [] for key in commands}
    for number in range(options.repeats):
        for key, (command, out) in commands.items():
            told = run_side(command, out, 60 * options.limit, count)
            print(f"{number + 1}. {title_of(key)}: {told}", file=sys.stderr, flush=True)
            found[key].append(told)
    rows = {title_of(key): summary(runs_of_side) for key, runs_of_side in found.items()}
    for key, (_, out) in commands.items():
        rows[title_of(key)] |= about_mask(out / scan.name, commands.get(("keras", key[1])), scan)
    stdout.print(table_of(rows, options))
    named = {name: getattr(options, name) for name in ("shape", "patch", "cores", "limit", "repeats")}
    print(json.dumps({**named, "overlap": OVERLAP, "windows": count, "sides": rows}))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 400), help="voxels of the leg")
    parser.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96), help="voxels of a window, of all sides")
    parser.add_argument("--preset", nargs="+", choices=PRESETS, default=["kseg"], help="kseg's networks")
    parser.add_argument("--sides", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--limit", type=float, default=60, help="minutes for a side, then it is ended (default 60)")
    parser.add_argument("--repeats", type=int, default=1, help="times that each side has its turn (default 1)")
    parser.add_argument("--cores", type=int, default=2, help="processor cores of each side (default 2)")
    parser.add_argument("--peers", default=".venv-monai/bin/python", help="a Python that has MONAI and nnU-Net")
    parser.add_argument("--plain", default=".venv-plain/bin/python", help="a Python that has TensorFlow alone")
    parser.add_argument("--out", type=Path, default=Path("build/predict-beside-peers"), help="folder for what is made")
    options = parser.parse_args()
    options.out = options.out.resolve()
    return options


def title_of(key):
    side, preset = key
    return f"{NAMES[side]}, preset {preset}" if preset else NAMES[side]


def made_scan(shape, folder):
    """The phantom as an uncompressed file whose axes lead right, forward and up: any reader gives the same array.

    Voxels are made 1 mm: one plan of nnU-Net's fits all legs, and nobody resamples.
    """
    path = folder / f"leg{'x'.join(map(str, shape))}_1mm_0000.nii"  # nnU-Net counts channels in names
    if not path.is_file():
        kseg("phantom", "--out", folder / "made", "--shape", *shape, "--format", "nii", "--force")
        (image,) = (folder / "made/images").iterdir()
        made = nib.load(image)
        nib.save(nib.Nifti1Image(np.asarray(made.dataobj), np.eye(4)), path)
    return path


def trained_run(preset, options):
    """A run with such patches, trained for a few steps, and exported in the forms that take part."""
    name = "x".join([f"beside-peers-{preset}-{options.patch[0]}", *map(str, options.patch[1:])])
    folder = RunFolder(Path("saved_models") / name)
    shape = [max(length, 64) for length in options.patch]
    recipe = [f"name={json.dumps(name)}", f"data.records={json.dumps(f'tfrecords/{name}')}"]
    recipe += [f"phantom.shape={shape}", "phantom.subjects=3", f"patches.size={list(options.patch)}"]
    recipe += ["patches.batch_size=1", f"network.preset={json.dumps(preset)}"]
    recipe += ["train.epochs=1", f"train.steps_per_epoch={TRAINING_STEPS}", "train.validation_patches=1"]
    if not folder.report.is_file():
        kseg("prepare", *recipe, "--force")
        kseg("train", *recipe, "--force")
    if "savedmodel" in options.sides and not folder.saved_models:
        kseg("export", folder.path, "evaluation.flip_axes=[]")
    if "onnx" in options.sides and not folder.onnx.is_file():
        kseg("export", folder.path, "--format", "onnx")
    return folder


def kseg(*words):
    subprocess.run([sys.executable, "-m", "kseg", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def command_of(side, run, scan, options):
    """What starts a side, and the folder that its mask comes to."""
    out = options.out / "masks" / (f"{side}-{run.path.name}" if run else side)
    out.mkdir(parents=True, exist_ok=True)
    given = {"scan": str(scan), "out": str(out), "progress": str(out / "windows")}
    if side == "savedmodel":
        given |= {"saved_model": str(run.saved_models[-1])}
        return [options.plain, HERE / "predict_served.py", json.dumps(given)], out
    if side in OWN:
        given |= {"form": side, "run": str(run.path)}
        return [sys.executable, HERE / "predict_kseg.py", json.dumps(given)], out
    model = options.out / f"nnunet-{'x'.join(map(str, options.patch))}"
    given |= {"side": side, "patch": options.patch, "classes": CLASSES, "threads": options.cores, "model": str(model)}
    program = [options.peers, HERE / "predict_peers.py"]
    if side == "nnunet" and not (model / "fold_0").is_dir():
        subprocess.run([*program, json.dumps(given | {"side": "nnunet-plan"})], check=True, stdout=subprocess.DEVNULL)
    return [*program, json.dumps(given)], out


def run_side(command, out, limit_s, count):
    """Run a side to its end, or for `limit_s` seconds: seconds, most memory of all its processes, windows done.

    There are `count` of them, unless the side says otherwise.
    """
    for path in out.iterdir():
        path.unlink()
    with (out / "log").open("wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=TENSORFLOW_SETTINGS | os.environ)
        over, seen = threading.Event(), [0]
        watch = threading.Thread(target=look, args=(process.pid, over, seen))
        end = threading.Timer(limit_s, process.kill)
        for thread in (watch, end):
            thread.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            over.set()
            end.cancel()
            process.kill()
        seconds, process.returncode = time.monotonic() - began, os.waitstatus_to_exitcode(status)
        watch.join()
    ended = process.returncode == 0
    if not ended and seconds < limit_s:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with status {process.returncode}: see '{out / 'log'}'")
    done, own = out / "windows", out / "windows-of"
    return {
        "seconds": seconds,
        "ended": ended,
        "peak_bytes": max(*seen, 1024 * used.ru_maxrss),
        "windows_done": done.stat().st_size if done.is_file() else None,
        "windows": int(own.read_text()) if own.is_file() else count,
    }


def look(process, over, seen):
    """Append what a process and its children hold, from time to time: they may be several."""
    while not over.wait(LOOK_EVERY_S):
        with suppress(OSError, StopIteration):  # one has ended meanwhile
            seen.append(memory(process))


def summary(found):
    """Medians over the turns of a side; where one was ended at the limit, all that is known is that it takes longer."""
    ended = all(one["ended"] for one in found)
    done = [one["windows_done"] for one in found]
    share = None if None in done else min(done) / found[0]["windows"]
    return {
        "ended": ended,
        "seconds": statistics.median(one["seconds"] for one in found),
        "peak_bytes": max(one["peak_bytes"] for one in found),
        "windows": found[0]["windows"],
        "share_of_windows": 1.0 if ended else share,
        "runs": found,
    }


def about_mask(path, reference, scan):
    """Whether a mask lies on its scan's grid, and in how many of its voxels it differs from that of `kseg predict`."""
    if not path.is_file():
        return {}
    mask, image = nib.load(path), nib.load(scan)
    if mask.shape != image.shape or not np.allclose(mask.affine, image.affine):
        sys.exit(f"'{path}' is not on the grid of its scan")
    if reference is None or not (other := reference[1] / scan.name).is_file():
        return {}
    differing = np.asarray(mask.dataobj) != np.asarray(nib.load(other).dataobj)
    return {"differing_labels": float(differing.mean())}


def table_of(rows, options):
    shape, patch = (" x ".join(map(str, sizes)) for sizes in (options.shape, options.patch))
    table = Table(title=f"{shape} voxels, windows of {patch}, {options.cores} cores")
    for heading in ("", "windows", "minutes", "times kseg's", "peak memory, GB", "labels that differ"):
        table.add_column(heading, justify="right" if heading else "left")
    first = next(iter(rows.values()))
    for name, row in rows.items():
        minutes = f"{row['seconds'] / 60:.2f}"
        if not row["ended"]:
            share = "" if row["share_of_windows"] is None else f", {row['share_of_windows']:.1%} of the windows"
            minutes = f"more than {minutes}{share}"
        ratio = f"{row['seconds'] / first['seconds']:.2f}" if first["ended"] else "-"
        ratio = ratio if row["ended"] or ratio == "-" else f"more than {ratio}"
        differing = f"{row['differing_labels']:.4%}" if "differing_labels" in row else "-"
        table.add_row(name, str(row["windows"]), minutes, ratio, f"{row['peak_bytes'] / 1e9:.2f}", differing)
    return table


if __name__ == "__main__":
    main()
