"""`kseg.bench input`: the patches of a recipe, their rate, what training waits for them, what each transform costs."""

from typing import Any

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.tensorflow_start import start_tensorflow
from kseg.recipe.sections import Recipe


def bench_input(recipe: Recipe, repeats: int) -> tuple[dict[str, Any], Any]:
    """Measure the input of a recipe's training; return the report and its table.

    Raises:
        InputError: the dataset is not prepared, or has nothing to train on.
    """
    from kseg.records.manifest import load_manifest
    from kseg.records.staging import staged

    manifest = load_manifest(recipe.records_folder)
    if not manifest.of_split("train"):
        raise InputError(
            f"'{recipe.records_folder}' has no train cases: prepare it with lower data.val_fraction and "
            "data.test_fraction"
        )
    records, manifest = staged(recipe, manifest)
    start_tensorflow()
    from kseg.benchmark.disk_and_memory import measure_disk_and_memory
    from kseg.benchmark.input_rate import measure_patch_rate, price_transforms
    from kseg.benchmark.input_waiting import measure_waiting
    from kseg.patches.file_systems import open_file_system
    from kseg.patches.patch_source import PatchSource
    from kseg.runs.planned_recipe import planned_recipe
    from kseg.runs.run import describe_data

    open_file_system(records)
    recipe = planned_recipe(recipe, manifest)
    description = describe_data(recipe, manifest)
    patches, augmentation = recipe.patches, recipe.augmentation
    source = PatchSource(records, manifest, "train", patches, recipe.seed, description.scales, augmentation)
    say(f"patches of {patches.size}, batch {patches.batch_size}, from '{records}'")
    cut_ms, prices_ms = price_transforms(patches, augmentation, len(manifest.channels), repeats)
    report = {
        **measure_patch_rate(source, repeats),
        **measure_waiting(recipe, description, source, repeats),
        "storage_mb_per_s": measure_disk_and_memory(
            [records / case.file for case in manifest.of_split("train")], repeats
        ),
        "cut_ms": cut_ms,
        "transforms_ms": prices_ms,
        "probabilities": {name: getattr(augmentation, name) for name in prices_ms},
        "patch": patches.size,
        "batch": patches.batch_size,
    }
    return report, _table(report)


def _table(report: dict[str, Any]) -> Any:
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
