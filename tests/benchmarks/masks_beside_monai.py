"""kseg's masks beside those of MONAI's UNet: the same scans, split, minutes, cores and scores.

Usage: python tests/benchmarks/masks_beside_monai.py PYTHON_WITH_MONAI RECIPE [key=value ...] [--minutes 30]
       [--seeds 1 2 3] [--subjects 25] [--cores 2] [--together] [--workers 0] [--patch X Y Z]
       [--peer-precision float32] [--out build/beside-monai]

The split is the one that kseg.prepare makes of the recipe, or, with --subjects, all its test subjects and that many of
the others. Both sides read it from one CSV manifest and learn from these others alone: kseg validates on a part of
them, MONAI trains on them all. Another seed is another split, and of the phantom other legs: with --seeds a last table
says by how much kseg is ahead in the mean over them, and with which standard error.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median, stdev

import nibabel as nib
from rich.table import Table

from kseg import phantom
from kseg.console.terminal import stdout
from kseg.evaluation.scores import score_case, summarise
from kseg.evaluation.surface_tolerance import tolerance_of
from kseg.recipe.load import load_recipe, split_arguments
from kseg.recipe.types import SPLITS
from kseg.records.scans import PHANTOM
from kseg.records.split_by_subject import rank, split_by_subject
from kseg.records.training_plan import planned_flips
from kseg.simulation.phantom import LABELS
from kseg.volumes.cases.csv_manifest import write_csv
from kseg.volumes.cases.find import find_cases
from kseg.volumes.formats.extensions import NIFTI_EXTENSIONS
from kseg.volumes.labels import LabelMap
from kseg.volumes.read import open_labels, read_image
from kseg.volumes.volume_stream import gather

STARTING_MINUTES = 0.5
"""That kseg may take for starting and compiling, which `train.max_minutes` does not count: the peer's bound does."""
PEER_MULTIPLE, PEER_VOXELS = 16, 48 * 64 * 48
"""Of its patch along each axis, and voxels at most: a hippocampus with its surroundings."""
PEER = Path(__file__).parent / "monai_unet.py"


def main():
    options = parse()
    path, overrides = split_arguments(options.words)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if options.seeds is None:
        compare(options, path, overrides)
        return
    reports = [compare(options, path, [*overrides, f"seed={seed}"]) for seed in options.seeds]
    leads = {measure: lead(reports, measure) for measure in LEADS}
    name = reports[0]["recipe"]
    stdout.print(leads_table(leads, f"{name}: kseg beside MONAI UNet, {len(reports)} seeds"))
    print(json.dumps({"recipe": name, "minutes": options.minutes, "seeds": options.seeds, "ahead": leads}))


def compare(options, path, overrides):
    """Train and score both sides; print the table and the report, which is returned."""
    recipe = load_recipe(path, overrides)
    out = options.out / f"{recipe.name}-{options.subjects or 'all'}"

    cases, labels, channel = labelled_cases(recipe, out / "scans")
    splits = choose_subjects(cases, recipe, options.subjects)
    cases = named_by_case([case for case in cases if case.subject in splits], out / "images")
    tests = [case for case in cases if splits[case.subject] == "test"]
    manifest = out / "cases.csv"
    write_manifest(manifest, cases, splits, channel)

    words = [*filter(None, [path]), *overrides]
    jobs = {
        "kseg": lambda: run_kseg(words, options.minutes, manifest, labels, tests, out / "kseg"),
        "MONAI UNet": lambda: run_monai(options, recipe, manifest, labels, cases, out / "monai"),
    }
    sides = run_on_cores(jobs, options.cores, options.together)
    for name, folder in (("kseg", "kseg"), ("MONAI UNet", "monai")):
        sides[name] |= score(tests, out / folder, labels, recipe.evaluation.surface_tolerance_mm)
    learners = len(splits) - len({case.subject for case in tests})
    report = {"recipe": recipe.name, "learners": learners, "minutes": options.minutes, "sides": sides}
    stdout.print(comparison(sides, f"{recipe.name}: {learners} subjects to learn from, {len(tests)} test cases"))
    print(json.dumps(report), flush=True)
    return report


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="a Python that has MONAI, PyTorch and nibabel")
    parser.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe (.toml) and changes to it")
    parser.add_argument("--minutes", type=float, default=30, help="for each side, from its scans to a trained network")
    parser.add_argument("--seeds", type=int, nargs="+", help="of as many comparisons, in turn (default: the recipe's)")
    parser.add_argument("--subjects", type=int, help="subjects to learn from, validation included (default: all)")
    parser.add_argument("--cores", type=int, default=2, help="processor cores for each side (default 2)")
    parser.add_argument("--together", action="store_true", help="both sides at once, each on cores of its own")
    parser.add_argument("--workers", type=int, default=0, help="processes that augment for MONAI (default 0)")
    parser.add_argument(
        "--patch", type=int, nargs=3, help="MONAI's patch (default: as a typical scan, or some 150,000 voxels of it)"
    )
    parser.add_argument(
        "--peer-precision", choices=("float32", "bfloat16"), default="float32", help="of MONAI's network"
    )
    parser.add_argument("--out", type=Path, default=Path("build/beside-monai"), help="folder for all that is written")
    options = parser.parse_intermixed_args()
    if options.subjects is not None and options.subjects < 2:
        parser.error(f"--subjects must be 2 or more, one to train and one to validate: received {options.subjects}")
    return options


def run_on_cores(jobs, count, together):
    """Results of the jobs by name, each on `count` cores: in turn on the first ones, or each on its own at once."""
    cores = sorted(os.sched_getaffinity(0))
    if together and len(cores) < count * len(jobs):
        sys.exit(f"--together needs {count * len(jobs)} cores, this machine lends {len(cores)}: choose fewer --cores.")

    def confined(number, job):
        # A thread's own affinity, which the commands that it starts inherit.
        first = number * count if together else 0
        os.sched_setaffinity(threading.get_native_id(), cores[first : first + count])
        return job()

    with ThreadPoolExecutor(len(jobs) if together else 1) as threads:
        results = [threads.submit(confined, number, job) for number, job in enumerate(jobs.values())]
        return {name: result.result() for name, result in zip(jobs, results, strict=True)}


def labelled_cases(recipe, folder):
    """Cases of the recipe's source, its label map, its channel's name; the phantom is written to `folder` first."""
    if recipe.data.source == PHANTOM:
        made = recipe.phantom
        shape = map(str, made.shape)
        look = ["--difficulty", str(made.difficulty), "--muscle-scale", str(made.muscle_scale)]
        amount = ["--subjects", str(made.subjects), "--shape", *shape, *look]
        phantom.main(["--out", str(folder), *amount, "--seed", str(recipe.seed), "--force"])
        return find_cases(folder / "manifest.csv").cases, LABELS, "image"
    found = find_cases(Path(recipe.data.source))
    for case in found.cases:
        if len(case.images) > 1 or not case.images[0].name.endswith(NIFTI_EXTENSIONS):
            sys.exit(f"case '{case.case}' must be one NIfTI file: monai_unet.py reads no other.")
    labels = LabelMap.from_json(recipe.data.labels) if recipe.data.labels else found.labels
    if labels.regions or recipe.data.regions or recipe.data.classes or labels.ignore is not None:
        sys.exit(
            "regions, data.classes and voxels to ignore are not compared: monai_unet.py learns all labels as they are."
        )
    return found.cases, labels, found.channel_names[0]


def named_by_case(cases, folder):
    """The same cases with links to their images in one folder, so that no two masks get one name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    linked = []
    for case in cases:
        image = case.images[0]
        extension = next(extension for extension in NIFTI_EXTENSIONS if image.name.endswith(extension))
        link = folder.absolute() / f"{case.case}{extension}"
        link.symlink_to(image.resolve())
        linked.append(replace(case, images=(link,)))
    return linked


def choose_subjects(cases, recipe, count):
    """Split of each subject that takes part: all test subjects, and `count` of the others (None: all).

    Of training and validation each its share, the first by the hash that drew the split: smaller sets are nested in
    larger ones.
    """
    splits = split_by_subject(cases, recipe.data.val_fraction, recipe.data.test_fraction, recipe.seed)
    ranked = sorted(splits, key=lambda subject: rank(subject, recipe.seed))
    subjects = {split: [subject for subject in ranked if splits[subject] == split] for split in SPLITS}
    learners = len(subjects["train"]) + len(subjects["val"])
    if count is None or count >= learners:
        return splits
    validating = max(1, round(count * len(subjects["val"]) / learners))
    kept = [*subjects["test"], *subjects["val"][:validating], *subjects["train"][: count - validating]]
    return {subject: splits[subject] for subject in kept}


def write_manifest(path, cases, splits, channel):
    """The CSV that both sides read; its column of images says what they are, as the source did: "image_CT"."""
    rows = [(c.case, c.subject, splits[c.subject], str(c.images[0]), str(c.label.resolve())) for c in cases]
    write_csv(path, rows, [channel if channel.startswith("image") else f"image_{channel}"])


def run_kseg(words, minutes, manifest, labels, tests, out):
    """Prepare, train for what is then left of the minutes, predict: by the commands that a user types."""
    began = time.monotonic()
    name = f"beside-monai-{manifest.parent.name}"
    data = [f"data.source={json.dumps(str(manifest))}", f"data.records={json.dumps(f'{out}-records')}"]
    table = ", ".join(f"{json.dumps(key)} = {value}" for key, value in labels.to_json().items())
    recipe = [*map(str, words), *data, f"data.labels={{{table}}}", f"name={json.dumps(name)}"]
    kseg("prepare", *recipe, "--force")
    left = minutes - (time.monotonic() - began) / 60 - STARTING_MINUTES
    report = kseg("train", *recipe, f"train.max_minutes={left}", "--force", "--json")
    trained = time.monotonic()
    kseg("predict", name, *(str(case.images[0]) for case in tests), "--out", str(out), "--force")
    return {
        "parameters": report["parameters"],
        "minutes": (trained - began) / 60,
        "predict_minutes": (time.monotonic() - trained) / 60,
    }


def kseg(command, *arguments):
    """Run a command of kseg; returns the object that it prints with --json, else None."""
    printed = run([sys.executable, "-m", f"kseg.{command}", *arguments])
    return json.loads(printed.splitlines()[-1]) if "--json" in arguments else None


def run_monai(options, recipe, manifest, labels, cases, out):
    """Train and predict in the peer's environment; it flips the axes that kseg flips."""
    began = time.monotonic()
    given = [str(manifest), "--out", str(out), "--labels", json.dumps(labels.to_json()), "--seed", str(recipe.seed)]
    patch = ["--patch", *map(str, options.patch or peer_patch(cases))]
    own = "flip_axes" in recipe.patches.model_fields_set
    flip_axes = recipe.patches.flip_axes if own else planned_flips(labels.names[1:])
    flip = ["--flip", *(str("xyz".index(axis)) for axis in flip_axes)]
    limits = ["--minutes", str(options.minutes), "--threads", str(options.cores), "--workers", str(options.workers)]
    limits += ["--precision", options.peer_precision]
    report = json.loads(run([options.python, str(PEER), *given, *patch, *flip, *limits]).splitlines()[-1])
    return report | {"predict_minutes": (time.monotonic() - began) / 60 - report["minutes"]}


def peer_patch(cases):
    """A patch that holds a typical scan, in the axes of its file; where that is too much, the longest gives way."""
    shapes = [nib.load(case.images[0]).shape for case in cases]
    patch = [math.ceil(median(lengths) / PEER_MULTIPLE) * PEER_MULTIPLE for lengths in zip(*shapes, strict=True)]
    while math.prod(patch) > PEER_VOXELS:
        patch[patch.index(max(patch))] -= PEER_MULTIPLE
    return patch


def run(command):
    """Standard output of a command; where it fails its own complaint stands on standard error already."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed with status {done.returncode}: {' '.join(command)}")
    return done.stdout


def score(tests, folder, labels, asked_mm):
    """Scores of the label maps in `folder`, by kseg's code: in the scans' own grid, which they must share."""
    names = labels.names[1:]
    scores = {}
    for case in tests:
        image = read_image(case.images, case.case)
        truth, predicted = (
            gather(open_labels(path, labels, image, case.case), f"label '{path}'").array[..., 0]
            for path in (case.label, folder / case.images[0].name)
        )
        tolerance_mm = tolerance_of(asked_mm, image.spacing_mm)
        scores[case.case] = score_case(truth, predicted, image.affine, names, tolerance_mm)
    return {"summary": asdict(summarise(scores))}


def comparison(sides, title):
    table = Table(title=title)
    table.add_column("")
    for heading in ("class", "Dice", "HD95 mm", "volume error %", "|error| %", "parameters", "minutes"):
        table.add_column(heading, justify="right")
    for name, side in sides.items():
        for class_name, statistics in side["summary"]["classes"].items():
            table.add_row(name, class_name, *means(statistics))
        foreground = means(side["summary"]["foreground"])
        spent = (f"{side['parameters']:,}", f"{side['minutes']:.1f}")
        table.add_row(name, "all classes", *foreground, *spent, style="bold", end_section=True)
    return table


MEASURES = {  # those that the comparison is about
    "dice": ".3f",
    "hd95_mm": ".2f",
    "volume_error_percent": "+.1f",
    "absolute_volume_error_percent": ".1f",
}


def means(statistics):
    return [f"{statistics[key]['mean']:{form}}" if key in statistics else "-" for key, form in MEASURES.items()]


LEADS = {"dice": 1, "absolute_volume_error_percent": -1}
"""What decides who is ahead, and the sign with which more is better."""


def lead(reports, measure):
    """By how much kseg is better over the seeds: the mean, and its standard error where there are two or more."""
    ours, theirs = (
        [report["sides"][side]["summary"]["foreground"][measure]["mean"] for report in reports]
        for side in ("kseg", "MONAI UNet")
    )
    leads = [LEADS[measure] * (mine - other) for mine, other in zip(ours, theirs, strict=True)]
    error = stdev(leads) / math.sqrt(len(leads)) if len(leads) > 1 else None
    return {"by_seed": leads, "mean": fmean(leads), "standard_error": error}


def leads_table(leads, title):
    table = Table(title=title)
    for heading in ("", "kseg is better by", "standard error", "in seeds"):
        table.add_column(heading, justify="right")
    for measure, found in leads.items():
        form = MEASURES[measure]
        error = "" if found["standard_error"] is None else f"{found['standard_error']:{form}}"
        better = sum(one > 0 for one in found["by_seed"])
        table.add_row(measure, f"{found['mean']:+{form}}", error, f"{better} of {len(found['by_seed'])}")
    return table


if __name__ == "__main__":
    main()
