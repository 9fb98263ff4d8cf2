"""`python -m kseg.export`: a run as a SavedModel that takes raw voxels and returns label maps, for TF Serving."""

import argparse
from collections.abc import Sequence

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow


def main(argv: Sequence[str] | None = None) -> None:
    """Write `saved_models/RUN/1/` (2, 3, ... later), load it anew and compare; then what a server needs beside it."""
    arguments = _parse(argv)

    from kseg.inference.trained import open_trained

    trained = open_trained(arguments.run, arguments.changes)
    folder = trained.folder.path
    name = folder.resolve().name

    start_tensorflow()
    from kseg.inference.saved_model import next_version, write_saved_model
    from kseg.inference.serving.pipeline import Pipeline
    from kseg.inference.serving.server_files import write_server_files
    from kseg.inference.volumes import chosen_postprocessing, describe
    from kseg.report.model_card import write_model_card

    chosen = chosen_postprocessing(trained)
    pipeline = Pipeline.of(trained, chosen)
    say(describe(trained, chosen))
    path = next_version(folder)
    agreement = write_saved_model(trained, pipeline, path, name)
    write_server_files(folder, name)
    card = write_model_card(trained, pipeline, path, name, agreement, arguments.licence)
    shape = " x ".join(map(str, agreement.shape))
    say(
        f"SavedModel {path}: on a made-up volume of {shape} voxels {agreement.differing_labels:.4%} of the labels "
        f"differ from kseg.predict's, probabilities of a patch by {agreement.largest_difference:.1e} at most"
    )
    say(f"{card} says what it is and how to call it; models.config and batching.config are for TF Serving")
    if arguments.json:
        differences = {
            "differing_labels": agreement.differing_labels,
            "largest_difference": agreement.largest_difference,
        }
        print_json({"path": str(path), "name": name} | differences)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "export", "Export a trained run, or the folds of one together, as a SavedModel for TF Serving."
    )
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    parser.add_argument(
        "changes",
        nargs="*",
        default=[],
        metavar="evaluation.KEY=VALUE",
        help="a change to how volumes are segmented",
    )
    parser.add_argument("--licence", metavar="TEXT", help="under which the model is passed on, for its model card")
    add_json_option(parser)
    return parser.parse_intermixed_args(argv)


if __name__ == "__main__":
    run(main)
