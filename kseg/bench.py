"""`python -m kseg.bench`: what this machine will do, measured side by side in one run."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError
from kseg.console.machine import cores
from kseg.recipe.keys import keys_help
from kseg.recipe.load import load_recipe, split_arguments
from kseg.storage.locations import local


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for, print a table, and with `--json` the numbers."""
    arguments = _parse(argv)
    measure: Callable[[argparse.Namespace], tuple[dict[str, Any], Any]] = arguments.measure
    report, table = measure(arguments)

    from kseg.console.progress import stdout

    stdout.print(table)
    if arguments.json:
        print_json(report | {"machine": _machine()})


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("bench", "Measure kseg on this machine.")
    benches = parser.add_subparsers(dest="bench", required=True, metavar="WHAT")
    step = benches.add_parser("step", help="a training step and a forward pass, plain beside fast layers")
    step.add_argument("--patch", type=int, nargs=3, default=(96, 96, 96), metavar=("X", "Y", "Z"), help="voxels")
    step.add_argument("--batch", type=int, default=1, help="patches of a step")
    step.set_defaults(measure=_step)
    patches = _add_bench_of_recipe(
        benches,
        "input",
        "the patches of a recipe: their rate, what a training waits for them, and what each transform costs",
    )
    patches.set_defaults(measure=_input)
    preparing = _add_bench_of_recipe(
        benches,
        "prepare",
        "the scans of a recipe: preparing them, beside reading their files and writing as many bytes",
    )
    preparing.add_argument("--cases", type=int, default=1, help="how many of the scans, the first ones")
    preparing.set_defaults(measure=_prepare)
    predicting = benches.add_parser(
        "predict", help="segmenting with a run: its Keras model, SavedModel, ONNX model and TensorRT engine"
    )
    predicting.add_argument("run", metavar="RUN", help="name or folder of the run, or of one of its folds")
    predicting.add_argument(
        "--shape", type=int, nargs=3, metavar=("X", "Y", "Z"), help="voxels of the volume; 1.5 patches along each axis"
    )
    predicting.add_argument("--threads", type=int, default=cores(), help="threads of each; as many as there are cores")
    predicting.set_defaults(measure=_predict)
    for bench in (step, patches, preparing, predicting):
        bench.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
        add_json_option(bench)
    return parser.parse_args(argv)


def _add_bench_of_recipe(benches: Any, name: str, what: str) -> argparse.ArgumentParser:
    bench: argparse.ArgumentParser = benches.add_parser(
        name, help=what, epilog=keys_help(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    bench.add_argument("words", nargs="*", metavar="RECIPE|KEY=VALUE", help="a recipe (.toml) and changes to it")
    return bench


def _step(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    if min(*arguments.patch, arguments.batch, arguments.repeats) < 1:
        raise InputError("--patch, --batch and --repeats must be 1 or more")
    start_tensorflow()
    from kseg.benchmark.cost import network_cost
    from kseg.benchmark.step import SIDES, measure_step
    from kseg.nn.networks import build_network

    patch = tuple(arguments.patch)
    say(f"the paper's network on patches of {patch}, batch {arguments.batch}; both sides take turns")
    report = measure_step(patch, arguments.batch, arguments.repeats)
    network = build_network("midl2021")
    costs = {side: network_cost(network, patch, arguments.batch, name) for side, name in SIDES.items()}
    report |= {
        "forward_gflop": {side: cost.flop / 1e9 for side, cost in costs.items()},
        "forward_gbytes": {side: cost.bytes / 1e9 for side, cost in costs.items()},
        "patch": patch,
        "batch": arguments.batch,
    }
    return report, _step_table(report)


def _input(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    if arguments.repeats < 1:
        raise InputError("--repeats must be 1 or more")
    recipe = load_recipe(*split_arguments(arguments.words))

    from kseg.records.manifest import load_manifest
    from kseg.records.staging import staged

    manifest = load_manifest(recipe.records_folder)
    if not manifest.of_split("train"):
        raise InputError(f"'{recipe.records_folder}' has no train cases: prepare it with other shares to hold out")
    records, manifest = staged(recipe, manifest)
    start_tensorflow()
    from kseg.benchmark.input import measure_pipeline, price_transforms
    from kseg.benchmark.input_waiting import measure_waiting
    from kseg.benchmark.read_speed import measure_storage
    from kseg.patches.file_systems import open_file_system
    from kseg.patches.patch_source import PatchSource
    from kseg.runs.run import describe_data, planned_recipe

    open_file_system(records)
    recipe = planned_recipe(recipe, manifest)
    description = describe_data(recipe, manifest)
    patches, augmentation = recipe.patches, recipe.augmentation
    source = PatchSource(records, manifest, "train", patches, recipe.seed, description.scales, augmentation)
    say(f"patches of {patches.size}, batch {patches.batch_size}, from '{records}'")
    cut_ms, prices_ms = price_transforms(patches, augmentation, len(manifest.channels), arguments.repeats)
    report = {
        **measure_pipeline(source, arguments.repeats),
        **measure_waiting(recipe, description, source, arguments.repeats),
        "storage_mb_per_s": measure_storage(
            [records / case.file for case in manifest.of_split("train")], arguments.repeats
        ),
        "cut_ms": cut_ms,
        "transforms_ms": prices_ms,
        "probabilities": {name: getattr(augmentation, name) for name in prices_ms},
        "patch": patches.size,
        "batch": patches.batch_size,
    }
    return report, _input_table(report)


def _prepare(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    if min(arguments.repeats, arguments.cases) < 1:
        raise InputError("--repeats and --cases must be 1 or more")
    recipe = load_recipe(*split_arguments(arguments.words))

    from kseg.benchmark.prepare import measure_preparing
    from kseg.records.scans import PHANTOM, find_scans
    from kseg.volumes.cases.find import find_cases

    if not isinstance(recipe.records_folder, Path):
        raise InputError("bench prepare writes to a disk: set data.records to a folder of one")
    if recipe.data.source == PHANTOM:
        raise InputError("bench prepare reads files: name some with data.source (kseg.phantom writes made-up ones)")
    cases = find_cases(local(recipe.data.source)).cases[: arguments.cases]
    files = [file for case in cases for file in (*case.images, case.label)]
    found = find_scans(recipe)
    some = replace(found, scans=found.scans[: arguments.cases])
    say(f"{len(cases)} of the {len(found.scans)} cases of '{recipe.data.source}'")
    report = measure_preparing(some, files, recipe.records_folder.parent, arguments.repeats)
    return report, _prepare_table(report)


def _predict(arguments: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    if min(*(arguments.shape or (1,)), arguments.threads, arguments.repeats) < 1:
        raise InputError("--shape, --threads and --repeats must be 1 or more")

    from kseg.benchmark.predict import Task, find_sides, measure_predicting
    from kseg.runs.run_folder import open_run

    folder = open_run(arguments.run)
    recipe = folder.load_recipe()
    shape = tuple(arguments.shape or (length * 3 // 2 for length in recipe.patches.size))
    sides, missing = find_sides(folder)
    for reason in missing.values():
        say(f"left out: {reason}")
    report = measure_predicting(Task(folder, shape, arguments.threads), sides, arguments.repeats)
    report |= {
        "run": str(folder.path),
        "shape": shape,
        "patch": recipe.patches.size,
        "batch": recipe.evaluation.batch_size,
        "overlap": recipe.evaluation.overlap,
        "threads": arguments.threads,
        "left_out": missing,
    }
    return report, _predict_table(report)


def _prepare_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        title="one process; reading and writing: the files inflated and nothing done with them, as many bytes"
    )
    for heading in ("", "prepare", "read and write", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    both = report["seconds"]
    table.add_row(
        "s", f"{both['prepare']:.2f}", f"{both['read_and_write']:.2f}", f"{report['ratio']:.1f}", style="bold"
    )
    rates = [report["shard_mb"] / both[side] for side in ("prepare", "read_and_write")]
    table.add_row("MB of shards a second", *(f"{rate:.0f}" for rate in rates), "")
    table.add_row("peak memory, GB", f"{report['peak_bytes'] / 1e9:.2f}", "", "")
    return table


def _machine() -> dict[str, Any]:
    """What was measured on; TensorFlow is asked for its GPUs only where the bench has started it."""
    import platform
    import sys
    from importlib.metadata import version

    report = {"cpus": cores(), "architecture": platform.machine(), "python": platform.python_version()}
    report |= {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    if tensorflow := sys.modules.get("tensorflow"):
        report["gpus"] = [device.name for device in tensorflow.config.list_physical_devices("GPU")]
    return report


def _step_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="direct: plain dilated convolutions; reuse: what implementation='auto' picks")
    table.add_column("")
    for heading in ("direct", "reuse", "direct / reuse"):
        table.add_column(heading, justify="right")

    def row(name: str, sides: dict[str, float], scale: float, style: str | None = None) -> None:
        ratio = sides["direct"] / sides["reuse"]
        table.add_row(
            name, f"{sides['direct'] / scale:.3g}", f"{sides['reuse'] / scale:.3g}", f"{ratio:.1f}", style=style
        )

    row("training step, s", report["train_step_s"], 1, "bold")
    row("forward pass, s", report["forward_s"], 1, "bold")
    row("peak memory, GB", report["peak_bytes"], 1e9, "bold")
    row("forward convolutions, GFLOP", report["forward_gflop"], 1)
    row("forward convolutions, GB moved", report["forward_gbytes"], 1)
    table.add_section()
    for name, sides in report["layers_s"].items():
        row(f"{name}, both ways, ms", sides, 1e-3)
    return table


def _predict_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    shape, patch = (" x ".join(map(str, report[key])) for key in ("shape", "patch"))
    table = Table(
        title=f"{shape} voxels in {report['windows']} windows of {patch}, {report['batch']} at once, "
        f"{report['threads']} threads"
    )
    for heading in ("", "s for 10^6 voxels", "times Keras'", "peak memory, GB"):
        table.add_column(heading, justify="right" if heading else "left")
    names = {"keras": "Keras", "savedmodel": "SavedModel", "onnx": "ONNX Runtime", "engine": "TensorRT engine"}
    took = report["seconds_per_million_voxels"]
    for side, seconds in took.items():
        peak = report["peak_bytes"][side] / 1e9
        table.add_row(names[side], f"{seconds:.3g}", f"{seconds / took['keras']:.2f}", f"{peak:.2f}")
    return table


def _input_table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="augmented: as the recipe says; transforms: price on one core x probability in the recipe")
    for heading in ("", "plain", "augmented"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, key in {"patches a second": "patches_per_s", "MB a second": "mb_per_s"}.items():
        table.add_row(name, *(f"{report[key][side]:.3g}" for side in ("plain", "augmented")), style="bold")
    storage = report["storage_mb_per_s"]
    table.add_row("the disk alone, MB of shards a second", f"{storage['disk']:.0f}")
    table.add_row("copying memory, MB a second", f"{storage['memory']:.0f}")
    table.add_section()
    table.add_row("a training step, s", "", f"{report['step_s']:.3g}", style="bold")
    table.add_row("of it waiting for patches", "", f"{report['input_wait']:.1%}", style="bold")
    table.add_section()
    table.add_row("cutting a patch, ms", f"{report['cut_ms']:.2f}")
    for name, price in report["transforms_ms"].items():
        probability = report["probabilities"][name]
        table.add_row(f"{name}, ms more", "", f"{price:.2f}" + (f" x {probability:g}" if probability else ", off"))
    return table


if __name__ == "__main__":
    run(main)
