"""`python -m kseg.prepare`: scans on disk, or the phantom, become sharded TFRecords with a manifest."""

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.command_names import command_line
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.text import counted, some_of
from kseg.recipe.keys import keys_help
from kseg.recipe.load import load_recipe, split_arguments
from kseg.recipe.sections import Recipe
from kseg.recipe.source_name import fit_name, source_name
from kseg.recipe.types import SPLITS
from kseg.storage.locations import Location, local

if TYPE_CHECKING:
    from kseg.records.manifest import Manifest
    from kseg.records.scans import ScanList
    from kseg.records.source_changes import SourceChanges
    from kseg.records.write import Earlier, RunJobs

MAX_NAMED = 5


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare the dataset that a recipe, or a source given directly, names."""
    arguments, runner_options = _parse(argv)
    if arguments.workers < 1:
        raise InputError(f"--workers must be at least 1: received {arguments.workers}")
    recipe = _recipe(arguments.words)
    if arguments.verify:
        manifest = _verified(recipe.records_folder)
    else:
        if "source" not in recipe.data.model_fields_set:
            say("no source of scans is named: it is the phantom's")
        manifest = _prepared(recipe, arguments, _engine(arguments, runner_options))
    from kseg.runs.outdated_runs import options_to_replace

    _report(manifest, recipe, arguments)
    say(f"next: {_train(arguments)}{options_to_replace(recipe.name, recipe.records_folder, manifest)}")


def _prepared(recipe: Recipe, arguments: argparse.Namespace, engine: "RunJobs") -> "Manifest":
    """Prepare the dataset, or bring it up to date."""
    from kseg.records.manifest import is_prepared
    from kseg.records.scans import find_scans
    from kseg.records.write import NOTHING, write_dataset

    found = find_scans(_found_by_workers(recipe) if arguments.engine == "beam" else recipe)
    if is_prepared(recipe.records_folder) and not arguments.force:
        return _up_to_date(recipe, found, arguments.skip_bad, engine)
    earlier = NOTHING if arguments.force else _nearly_published(recipe, found)
    return write_dataset(recipe, found, arguments.skip_bad, engine, earlier)


def _found_by_workers(recipe: Recipe) -> Recipe:
    """Return the recipe with the full path of its scans: workers of other machines were started in other folders."""
    from kseg.records.scans import PHANTOM

    if recipe.data.source == PHANTOM:
        return recipe
    source = str(local(recipe.data.source).absolute())
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"source": source})})


def _up_to_date(recipe: Recipe, found: "ScanList", skip_bad: bool, engine: "RunJobs") -> "Manifest":
    """Let a dataset follow its source; `InputError` if it was prepared otherwise than the recipe says."""
    from kseg.records.destinations import destination
    from kseg.records.source_changes import find_changes
    from kseg.records.write import write_dataset

    target = recipe.records_folder
    manifest = _published(target)
    changes = find_changes(recipe, found, manifest)
    if changes.otherwise:
        more = f", and {len(changes.otherwise) - 1} more" if len(changes.otherwise) > 1 else ""
        raise InputError(
            f"'{target}' exists already and was prepared otherwise ({changes.otherwise[0]}{more}): pass --force to "
            "prepare it anew, or set data.records"
        )
    if changes.cases:
        manifest = write_dataset(recipe, found, skip_bad, engine, changes.earlier)
        _tell_changes(recipe, manifest, changes)
        return manifest
    destination(target).tidy()
    say(f"{target} is prepared already, from the same scans in the same way")
    for left_out in manifest.left_out:
        say(f"left out {left_out.case}: {left_out.reason}")
    return manifest


def _nearly_published(recipe: Recipe, found: "ScanList") -> "Earlier":
    """Return the splits of a dataset that was killed just before it was there: those that it had, or would have had."""
    from kseg.records.destinations import destination
    from kseg.records.source_changes import find_changes
    from kseg.records.write import NOTHING, Earlier

    if (manifest := destination(recipe.records_folder).interrupted()) is None:
        return NOTHING
    changes = find_changes(recipe, found, manifest)
    return NOTHING if changes.otherwise else Earlier(changes.earlier.splits)


def _published(target: Location) -> "Manifest":
    from kseg.records.manifest import load_manifest

    try:
        return load_manifest(target)
    except InputError as error:
        raise InputError(f"{error} (with --force)") from None


def _tell_changes(recipe: Recipe, manifest: "Manifest", changes: "SourceChanges") -> None:
    """Say what was done to follow the source, and which runs were trained on what was there before."""
    from kseg.runs.outdated_runs import outdated_runs

    say(f"{recipe.records_folder} is brought up to date: {changes.summary(manifest)}")
    if runs := outdated_runs(recipe.records_folder, manifest, changes.subjects):
        say(
            f"note: trained on what was there before: {some_of(runs, MAX_NAMED)}: "
            f"{command_line('train')} with --force, or with another name=..., trains on what is there now"
        )


def _engine(arguments: argparse.Namespace, runner_options: Sequence[str]) -> "RunJobs":
    if arguments.engine == "beam":
        from kseg.records.apache_beam import run_jobs_in_beam

        return partial(run_jobs_in_beam, options=runner_options)
    from kseg.records.process_pool import run_jobs

    return partial(run_jobs, workers=arguments.workers)


def _verified(target: Location) -> "Manifest":
    """Read every shard, compare it with the manifest, and return that."""
    from kseg.records.manifest import load_manifest
    from kseg.records.prepared_case import check_shards

    manifest = load_manifest(target)
    check_shards(target, manifest)
    say(f"verified {target}: the shards of {len(manifest.cases)} cases are as they were prepared")
    return manifest


def _report(manifest: "Manifest", recipe: Recipe, arguments: argparse.Namespace) -> None:
    from kseg.console.terminal import stdout
    from kseg.records.plan_notes import plan_notes
    from kseg.records.plan_table import class_table, plan_table
    from kseg.records.split_warnings import split_warnings
    from kseg.runs.oversized_patch import oversized_patch

    target = recipe.records_folder
    counts = {split: len(manifest.of_split(split)) for split in SPLITS}
    names = manifest.label_map.names
    voxels = [sum(case.class_voxels[index] for case in manifest.cases) for index in range(len(names))]
    fractions = {name: count / sum(voxels) for name, count in zip(names, voxels, strict=True)}
    listed = counts | ({"left out": len(manifest.left_out)} if manifest.left_out else {})
    say(f"prepared {target}: " + ", ".join(f"{count} {what}" for what, count in listed.items()))
    if manifest.regions:
        say(f"regions: {', '.join(map(str, manifest.regions))}")
    say("class fractions: " + ", ".join(f"{name} {fraction:.2%}" for name, fraction in fractions.items()))
    if partly := sum(case.partly_labelled for case in manifest.cases):
        share = sum(voxels) / sum(math.prod(case.shape) for case in manifest.cases)
        say(f"labelled in part: {partly} of {counted(len(manifest.cases), 'case')}, {share:.1%} of all voxels")
    stdout.print(class_table(manifest))
    stdout.print(plan_table(manifest, recipe))
    own_patch = [oversized_patch(recipe, manifest)] if "size" in recipe.patches.model_fields_set else []
    few = split_warnings(manifest, _again(arguments), _train(arguments))
    for warning in filter(None, (*manifest.plan.warnings, *plan_notes(manifest, recipe), *own_patch, *few)):
        say(f"note: {warning}")
    if arguments.json:
        left_out_cases = [left_out.case for left_out in manifest.left_out]
        print_json(
            {
                "records": str(target),
                "cases": counts,
                "class_fractions": fractions,
                "plan": manifest.plan_for(recipe).model_dump(mode="json"),
                "left_out": left_out_cases,
            }
        )


def _train(arguments: argparse.Namespace) -> str:
    """The command that trains on what this one prepares."""
    path, overrides = _recipe_words(arguments.words)
    return f"{command_line('train')} {shlex.join([*([] if path is None else [str(path)]), *overrides])}".rstrip()


def _again(arguments: argparse.Namespace) -> str:
    """This command, to which others words may be added."""
    options = ["--skip-bad"] if arguments.skip_bad else []
    return f"{command_line('prepare')} {shlex.join([*arguments.words, *options])}".rstrip()


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = command_parser("prepare", epilog=keys_help())
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE|SOURCE|KEY=VALUE",
        help="a recipe (.toml), or a dataset itself: nnU-Net or Decathlon folder, CSV manifest; nothing: the phantom",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad cases out and list them, instead of stopping"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that prepare cases side by side")
    parser.add_argument("--verify", action="store_true", help="write nothing: check what is prepared")
    parser.add_argument("--force", action="store_true", help="replace what was prepared before")
    parser.add_argument(
        "--engine", choices=("local", "beam"), default="local", help="what runs the cases; options of Beam's follow --"
    )
    add_json_option(parser)
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    arguments, runner_options = parser.parse(words[:end]), words[end + 1 :]
    if runner_options and arguments.engine != "beam":
        raise InputError(f"what follows -- is for --engine beam: received {' '.join(runner_options)}")
    return arguments, runner_options


def _recipe_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The recipe's path and the changes to it; a source that is given itself is one of these."""
    path, overrides = split_arguments(words)
    if path is None or path.suffix == ".toml":
        return path, overrides
    return None, [f"data.source={json.dumps(str(path), ensure_ascii=False)}", *overrides]


def _recipe(words: Sequence[str]) -> Recipe:
    recipe = load_recipe(*_recipe_words(words))
    name = source_name(recipe.data.source)
    if recipe.data.records == f"tfrecords/{fit_name(name)}" and fit_name(name) != name:
        say(f"'{name}' is prepared as '{fit_name(name)}': name=... and data.records=... choose others")
    if not recipe.train.start_from:
        return recipe
    from kseg.runs.start_from import with_spacing_of_start

    return with_spacing_of_start(recipe)


if __name__ == "__main__":
    run(main)
