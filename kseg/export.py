"""`python -m kseg.export`: a run's model as a SavedModel, the next version for TF Serving."""

import argparse
from collections.abc import Sequence

from kseg.console.command import add_json_option, command_parser, print_json, run, say, start_tensorflow


def main(argv: Sequence[str] | None = None) -> None:
    """Write `saved_models/RUN/1/` (2, 3, ... later), load it anew and compare."""
    arguments = _parse(argv)

    from kseg.training.run_folder import open_run

    folder = open_run(arguments.run)
    recipe = folder.load_recipe()

    start_tensorflow()
    import numpy as np

    from kseg.inference.saved_model import SIGNATURE, next_version, write_saved_model

    model = folder.load_model()
    path = next_version(folder.path)
    noise = np.random.default_rng(recipe.seed).normal(100, 30, (*recipe.patches.size, model.network.input_shape[-1]))
    difference = write_saved_model(model, path, noise, folder.load_contract().scales)
    say(f"SavedModel {path}, signature {SIGNATURE}: differs from the Keras model by {difference:.1e} at most")
    if arguments.json:
        print_json({"path": str(path), "signature": SIGNATURE, "largest_difference": difference})


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("export", "Export a trained run as a SavedModel for TF Serving.")
    parser.add_argument("run", metavar="RUN", help="name or folder of the run")
    add_json_option(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
