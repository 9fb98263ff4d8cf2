"""`python -m kseg.prepare`: scans on disk, or the phantom, become sharded TFRecords with a manifest."""

import argparse
import json
from collections.abc import Sequence

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError
from kseg.recipe.keys import keys_help
from kseg.recipe.load import load_recipe, split_arguments
from kseg.recipe.sections import Recipe


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the dataset that a recipe, or a source given directly, names."""
    arguments = _parse(argv)
    recipe = _recipe(arguments.words)
    target = recipe.records_folder
    if target.exists() and not arguments.force:
        raise InputError(f"'{target}' exists already: pass --force to prepare it anew, or set data.records")

    from kseg.console.progress import stdout
    from kseg.records.plan_table import class_table, plan_table
    from kseg.records.scans import find_scans
    from kseg.records.write import write_dataset

    scans = find_scans(recipe)
    start_tensorflow()
    manifest = write_dataset(recipe, scans, skip_bad=arguments.skip_bad)
    counts = {split: len(manifest.of_split(split)) for split in ("train", "val", "test")}
    voxels = [sum(case.class_voxels[index] for case in manifest.cases) for index in range(len(manifest.labels))]
    fractions = {name: count / sum(voxels) for name, count in zip(manifest.labels, voxels, strict=True)}
    say(f"prepared {target}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    say("class fractions: " + ", ".join(f"{name} {fraction:.2%}" for name, fraction in fractions.items()))
    stdout.print(class_table(manifest))
    stdout.print(plan_table(manifest.plan, recipe))
    for warning in manifest.plan.warnings:
        say(f"note: {warning}")
    for left_out in manifest.left_out:
        say(f"left out {left_out.case}: {left_out.reason}")
    if arguments.json:
        left_out_cases = [left_out.case for left_out in manifest.left_out]
        print_json(
            {
                "records": str(target),
                "cases": counts,
                "class_fractions": fractions,
                "plan": manifest.plan.model_dump(mode="json"),
                "left_out": left_out_cases,
            }
        )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("prepare", "Bring scans into the form that training reads.", epilog=keys_help())
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE|SOURCE|KEY=VALUE",
        help="a recipe (.toml), or a dataset itself: nnU-Net or Decathlon folder, CSV manifest; nothing: the phantom",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad cases out and list them, instead of stopping"
    )
    parser.add_argument("--force", action="store_true", help="replace what was prepared before")
    add_json_option(parser)
    return parser.parse_intermixed_args(argv)


def _recipe(words: Sequence[str]) -> Recipe:
    path, overrides = split_arguments(words)
    if path is None or path.suffix == ".toml":
        return load_recipe(path, overrides)
    name = path.resolve().parent.name if path.suffix else path.resolve().name
    source = [f"name={json.dumps(name)}", f"data.records={json.dumps(f'tfrecords/{name}')}"]
    return load_recipe(None, [f"data.source={json.dumps(str(path))}", *source, *overrides])


if __name__ == "__main__":
    run(main)
