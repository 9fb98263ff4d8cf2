"""`python -m kseg.evaluate`: a run's model on the whole volumes of a split, scored in the original voxel grid."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow
from kseg.console.errors import InputError

MOST_PICTURES = 5


def main(argv: Sequence[str] | None = None) -> None:
    """Segment and score every case of a split; write CSV, JSON and pictures into the run's folder."""
    arguments = _parse(argv)

    from kseg.records.manifest import load_manifest
    from kseg.training.run_folder import open_run

    folder = open_run(arguments.run)
    recipe, contract = folder.load_recipe(), folder.load_contract()
    records = arguments.records or recipe.records_folder
    manifest = load_manifest(records)
    if (manifest.channels, manifest.label_map) != (contract.channels, contract.label_map):
        raise InputError(f"'{records}' has other channels or labels than run '{folder.path}' was trained on")
    if not manifest.of_split(arguments.split):
        raise InputError(f"'{records}' has no {arguments.split} cases: choose another --split")

    start_tensorflow()
    from kseg.console.progress import progress, stdout
    from kseg.evaluation.picture import three_planes
    from kseg.evaluation.report import score_table, write_report
    from kseg.evaluation.scores import score_case, summarise
    from kseg.inference.volumes import volume_segmenter
    from kseg.records.read import read_records

    segment = volume_segmenter(folder.load_model(), recipe)
    names = contract.label_map.names[1:]
    scores = {}
    pictures: list[str] = []
    cases = len(manifest.of_split(arguments.split))
    records_of_split = read_records(records, manifest, arguments.split)
    for record in progress(records_of_split, f"evaluating {arguments.split}", cases):
        prediction = segment(record.image.array, iter)
        spacing_mm = record.image.spacing_mm
        scores[record.case] = score_case(
            record.labels, prediction, spacing_mm, names, recipe.evaluation.surface_tolerance_mm
        )
        if len(pictures) < MOST_PICTURES:
            pictures.append(str(folder.evaluation / f"{arguments.split}-{record.case}.png"))
            three_planes(
                record.image.array[..., 0],
                record.labels,
                prediction,
                spacing_mm=spacing_mm,
                class_names=names,
                path=Path(pictures[-1]),
                title=f"{recipe.name}: {record.case}",
            )
    summary = summarise(scores)
    write_report(scores, summary, folder.evaluation, arguments.split)
    stdout.print(score_table(summary))
    say(f"scores: {folder.evaluation / arguments.split}.csv and .json; pictures: {', '.join(pictures)}")
    if arguments.json:
        print_json({"run": str(folder.path), "split": arguments.split, "summary": asdict(summary)})


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("evaluate", "Score a trained run on whole volumes.")
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument("--split", choices=("val", "test", "train"), default="test", help="cases to score (test)")
    parser.add_argument("--records", type=Path, metavar="DIR", help="another prepared dataset than the run's own")
    add_json_option(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
