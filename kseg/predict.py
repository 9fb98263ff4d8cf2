"""`python -m kseg.predict`: label maps for new scans, in each scan's own geometry, file type and label values."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg.console.command import add_json_option, command_parser, run
from kseg.console.command_names import command_line, command_name
from kseg.console.disk_errors import refusals_told
from kseg.console.errors import InputError
from kseg.console.messages import print_json, say
from kseg.console.outcomes import Outcomes
from kseg.console.text import counted
from kseg.recipe.load import ASSUMED_SPACING, is_override, load_recipe
from kseg.recipe.types import SPLITS
from kseg.storage.disk import check_writable
from kseg.storage.locations import local

if TYPE_CHECKING:
    import numpy as np

    from kseg.evaluation.predicted_volumes import VolumeTable
    from kseg.inference.predictor import Predictor
    from kseg.inference.trust import Trust
    from kseg.measures.mask_table import MaskTable
    from kseg.recipe.types import Spacing
    from kseg.volumes.dicom_seg.predictions import SegWriter
    from kseg.volumes.prediction_inputs import Inputs
    from kseg.volumes.prediction_outputs import Output
    from kseg.volumes.volume_stream import VolumeStream

    OpenAnnotation = Callable[[VolumeStream, Spacing], VolumeStream]
    """Opens the annotation of an image."""

PROTOCOLS = ("grpc", "rest")
CODES = "data.codes"
OF_ANNOTATION = ("data.annotated_slices", "data.empty_slices")


def main(argv: Sequence[str] | None = None) -> None:
    """Segment every input; a bad one does not stop the others, but is the exit status's business at the end."""
    arguments = _parse(argv)
    out = local(arguments.out)

    from kseg.evaluation.predicted_volumes import VolumeTable
    from kseg.measures.tables import MEASURES_FILE, measures_table
    from kseg.volumes.prediction_outputs import plan_outputs

    paths, changes, of_files = _sorted_words(arguments)
    if arguments.dicom_seg:
        from kseg.volumes.dicom_seg.write import require_highdicom

        require_highdicom()
    assumed = load_recipe(None, of_files).data.assume_spacing_mm
    predictor = _open_predictor(arguments, changes)
    inputs = _find_inputs(arguments, paths, predictor)
    open_annotation = _annotation(arguments, of_files, predictor, len(inputs.scans) + len(inputs.refused))
    seg_writer = _seg_writer(arguments, of_files, predictor)
    check_writable(out)
    tables = VolumeTable(out), measures_table(out / MEASURES_FILE)
    outputs, refused = plan_outputs(inputs.scans, out, arguments.force, arguments.uncertainty, arguments.dicom_seg)
    written = [path.resolve() for one in outputs for path in (one.path, one.uncertainty) if path]
    if arguments.annotation and local(arguments.annotation).resolve() in written:
        raise InputError(f"--annotation '{arguments.annotation}' would be written over: choose another --out")
    done = _Done(len(inputs.scans) + len(inputs.refused))
    for path, reason in inputs.skipped.items():
        done.skip(path, reason)
    for path, reason in (*inputs.refused.items(), *((scan.path, reason) for scan, reason in refused)):
        done.fail(path, reason)
    if outputs:
        say(predictor.start())
    for output in outputs:
        try:
            check_writable(out)  # a disk that is full by now need not be told so after minutes
            with refusals_told():
                _segment_file(
                    output, predictor, assumed or predictor.assume_spacing_mm, tables, done, open_annotation, seg_writer
                )
        except InputError as error:
            done.fail(output.scan.path, str(error))
    if arguments.rank:
        done.rank()
    if arguments.json:
        print_json({**predictor.identity, **done.report()})
    done.conclude()


@dataclass
class _Done(Outcomes):
    """What became of the scans, with what is written and known of each."""

    command = "predict"
    kind = "inputs"

    written: list[str] = field(default_factory=list)
    dicom_seg: list[str] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    trust: "dict[str, Trust]" = field(default_factory=dict)

    def warn(self, path: Path, warnings: list[str]) -> None:
        self.warnings[str(path)] = warnings
        for warning in warnings:
            say(f"warning: '{path}' {warning}")

    def rank(self) -> None:
        """Print the scans, the least trusted first."""
        from kseg.console.terminal import stdout
        from kseg.inference.trust import trust_table

        stdout.print(trust_table(self.trust))
        if all(trust.expected_dice is None for trust in self.trust.values()):
            say(
                f"note: ordered by agreement, since no Dice is expected of any: {command_name('evaluate')} RUN --split "
                "val, with the same evaluation.KEY=VALUE, learns it from five validation cases or more"
            )

    def report(self) -> dict[str, Any]:
        """Return what `--json` prints of it."""
        from kseg.inference.trust import ranked

        return {
            "written": self.written,
            "dicom_seg": self.dicom_seg,
            "volumes": self.volumes,
            "measures": self.measures,
            "least_trusted_first": ranked(self.trust),
            "failed": list(self.failed),
            "skipped": self.skipped,
            "warnings": self.warnings,
        }

    def conclude(self) -> None:
        """Raise `InputError` where an input failed, or nothing was one."""
        if self.skipped:
            say(f"{counted(len(self.skipped), 'volume')} skipped: name a file itself to segment it all the same")
        self.raise_failed()
        if not self.written:
            raise InputError("no scan is left to segment: all were skipped; see above")


def _sorted_words(arguments: argparse.Namespace) -> tuple[list[Path], list[str], list[str]]:
    """Return the inputs, the changes to how they are segmented, and those to how files are understood."""
    from kseg.runs.package import is_package

    overrides = [word for word in arguments.words if is_override(word)]
    changes = [word for word in overrides if word.startswith("evaluation.")]
    keys = (
        ASSUMED_SPACING,
        *(OF_ANNOTATION if arguments.annotation else ()),
        *([CODES] if arguments.dicom_seg else ()),
    )
    of_files = [word for word in overrides if word.partition("=")[0].startswith(keys)]
    if others := [word for word in overrides if word not in (*changes, *of_files)]:
        raise InputError(
            f"'{others[0]}' is no scan that is there, nor a change that can be made: those are evaluation.KEY=VALUE "
            f"and {ASSUMED_SPACING}=[i, j, k], with --annotation {' and '.join(OF_ANNOTATION)}, "
            f"and with --dicom-seg {CODES}"
        )
    paths = [Path(word) for word in arguments.words if word not in overrides]
    if arguments.split is None and not paths:
        remedy = "give volumes, folders, or a list of cases; or --split for those of the run's dataset"
        raise InputError(f"no scan is named: {remedy}. See {command_line('predict')} --help")
    if arguments.split and paths:
        raise InputError(f"--split is for cases of the run's own dataset: leave out '{paths[0]}', or leave out --split")
    if arguments.split and is_package(arguments.run):
        raise InputError(f"--split is for a run on this machine: '{arguments.run}' is a package, name the scans")
    if arguments.split and arguments.server:
        raise InputError("--split is for a run on this machine: name the scans, or a list of cases, with --server")
    return paths, changes, of_files


def _annotation(
    arguments: argparse.Namespace, of_files: Sequence[str], predictor: "Predictor", inputs: int
) -> "OpenAnnotation | None":
    """Return what opens `--annotation`, whose voxels are kept; None without one.

    Raises:
        InputError: it is not clear of which scan it is.
    """
    if arguments.annotation is None or (labels := predictor.labels_of_files) is None:
        return None
    if inputs != 1:
        raise InputError(f"--annotation is of one scan, and {inputs} are named: segment each scan by itself")
    from kseg.volumes.annotated_slices import Annotation
    from kseg.volumes.kept_annotation import open_annotation

    said, annotation = load_recipe(None, of_files).data, labels.annotation
    if "annotated_slices" in said.model_fields_set:
        own = "empty_slices" in said.model_fields_set or said.annotated_slices == "none"
        empty_value = said.empty_slices if own else annotation.empty_value
        annotation = Annotation(across=said.annotated_slices, empty_value=empty_value)
    path, how = local(arguments.annotation), replace(labels, annotation=annotation)
    return lambda image, assumed: open_annotation(path, image, how, assumed)


def _seg_writer(arguments: argparse.Namespace, of_files: Sequence[str], predictor: "Predictor") -> "SegWriter | None":
    """Return what writes DICOM SEG; None without `--dicom-seg`."""
    if not arguments.dicom_seg:
        return None
    from kseg.volumes.dicom_seg.predictions import SegWriter
    from kseg.volumes.dicom_seg.segments import check_codes

    said = load_recipe(None, of_files).data.codes
    if predictor.structures:
        check_codes(said, predictor.structures)
    return SegWriter(predictor.structures, {**predictor.codes, **said}, predictor.algorithm)


def _find_inputs(arguments: argparse.Namespace, paths: Sequence[Path], predictor: "Predictor") -> "Inputs":
    from kseg.volumes.prediction_inputs import find_inputs, inputs_of_cases

    number, names = predictor.channels or 1, predictor.channel_names
    if arguments.split is None:
        return find_inputs(paths, number, names)
    from kseg.records.source_cases import cases_of_split
    from kseg.runs.trained_run import open_trained

    return inputs_of_cases(cases_of_split(open_trained(arguments.run).recipe, arguments.split), number, names)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser("predict")
    parser.add_argument("run", metavar="RUN|MODEL", help="name or folder of the run; or the served model's name")
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="INPUT|KEY=VALUE",
        help="volume, folder with volumes or DICOM series in it or below, or CSV or dataset.json of cases; or "
        "a change to how they are segmented (evaluation.KEY), or "
        f"{ASSUMED_SPACING}=[i, j, k] for those that do not state it",
    )
    parser.add_argument("--split", choices=SPLITS, help="segment these cases of the dataset that the run was made of")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the label maps, measures.csv and volumes.csv"
    )
    parser.add_argument(
        "--annotation",
        metavar="MASK",
        help="label map of the scan that is annotated in part, by the labels of the training: what is annotated is "
        f"kept, the rest is filled in; {OF_ANNOTATION[0]}=z says that slices across z are, if the training's were not",
    )
    parser.add_argument(
        "--rank", action="store_true", help="list the scans at the end, the one whose mask is least to be trusted first"
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="write beside each mask, as NAME_uncertainty, the entropy of each voxel: 0 where one class is certain, "
        "100 where all are alike",
    )
    parser.add_argument(
        "--dicom-seg",
        action="store_true",
        help="write beside each mask of a DICOM series, as NAME.seg.dcm, a DICOM SEG that refers to it; with "
        f"{CODES} codes for its segments, where the run has none",
    )
    parser.add_argument("--force", action="store_true", help="replace label maps that kseg wrote there before")
    parser.add_argument(
        "--engine",
        action="store_true",
        help=f"run the engine that {command_name('export')} --format tensorrt built here, or else that of --format "
        "tensorrt-rtx",
    )
    parser.add_argument("--server", metavar="HOST[:PORT]", help="let the TF Serving there segment them")
    served = parser.add_argument_group("with --server")
    served.add_argument("--protocol", choices=PROTOCOLS, help="grpc (the default, port 8500) or rest (port 8501)")
    served.add_argument("--model-version", type=int, metavar="N", help="version of the model; the newest by default")
    served.add_argument(
        "--deadline",
        type=float,
        metavar="SECONDS",
        help="time for a scan, second tries included; 10 minutes and 10 s for each million voxels by default",
    )
    add_json_option(parser)
    return parser.parse(argv)


def _open_predictor(arguments: argparse.Namespace, changes: Sequence[str]) -> "Predictor":
    if arguments.server is None:
        for name in ("protocol", "model_version", "deadline"):
            if getattr(arguments, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is for a model on a server: name it with --server")
        from kseg.inference.local_predictor import LocalPredictor

        if not arguments.engine:
            return LocalPredictor(arguments.run, changes)
        from kseg.deployment.engine_file import open_engine
        from kseg.runs.package import is_package

        if is_package(arguments.run):
            raise InputError(
                f"'{arguments.run}' is a package, without an engine: {command_line('export')} {arguments.run} --format "
                "tensorrt makes a run of it with one; then name that run"
            )
        return LocalPredictor(arguments.run, changes, open_engine)
    if arguments.engine:
        raise InputError("--engine is for a run on this machine: leave it out with --server")
    if arguments.annotation is not None:
        raise InputError("--annotation is for a run on this machine: leave it out with --server")
    for name in ("rank", "uncertainty"):
        if getattr(arguments, name):
            raise InputError(f"--{name} is for a run on this machine: a server returns labels alone, leave it out")
    if changes:
        raise InputError(f"'{changes[0]}' cannot be changed for a served model: export the run anew with it")
    if arguments.deadline is not None and not 0 < arguments.deadline < math.inf:
        raise InputError(f"--deadline must be a number of seconds above 0: received {arguments.deadline:g}")
    from kseg.client.server_predictor import ServerPredictor

    return ServerPredictor(
        arguments.server,
        arguments.run,
        protocol=arguments.protocol or PROTOCOLS[0],
        version=arguments.model_version,
        deadline_seconds=arguments.deadline,
    )


def _segment_file(
    output: "Output",
    predictor: "Predictor",
    assume_spacing_mm: "Spacing",
    tables: "tuple[VolumeTable, MaskTable]",
    done: _Done,
    open_annotation: "OpenAnnotation | None",
    seg_writer: "SegWriter | None" = None,
) -> None:
    """Segment one scan and write its label map, its volumes and its measures; nothing of it stays in memory."""
    from kseg.console.terminal import progress
    from kseg.inference.scan_likeness import label_map_values, unlike_training
    from kseg.inference.trust import doubts, expected_words, trust_of
    from kseg.measures.structures import measure_structures
    from kseg.measures.tables import Z_AXIS, measures_rows
    from kseg.volumes.kept_annotation import keep_annotation
    from kseg.volumes.read import open_image
    from kseg.volumes.watched_stream import WatchedStream
    from kseg.volumes.write import write_label_map

    scan, name = output.scan, output.scan.path.name
    image = open_image(scan.channels, name, assume_spacing_mm)
    warnings = []
    if values := label_map_values(image, predictor.structures):
        if scan.found:
            done.skip(scan.path, f"is a label map: it holds {values}")
            return
        warnings.append(f"looks like a label map: it holds {values}")
    annotated = open_annotation(image, assume_spacing_mm) if open_annotation else None
    watched = WatchedStream(image)
    shown = partial(progress, description=str(Path(*output.scan.path.parts[-2:])))
    found = predictor.segment(watched.stream, name, shown, with_entropy=output.uncertainty is not None)
    mask = found.values
    if annotated and predictor.labels_of_files:
        keep_annotation(mask, annotated, predictor.labels_of_files.classes)
        found = replace(found, agreement={}, expected={})  # they are of the network's mask, not of this one
    for note in (*image.notes, *(annotated.notes if annotated else ())):
        say(f"note: {name}: {note}")
    if output.earlier_uncertainty:
        say(f"note: '{output.earlier_uncertainty}' is of an earlier mask: --uncertainty writes it anew")
    warnings += [*unlike_training(watched, predictor), *doubts(found)]
    if warnings:
        done.warn(scan.path, warnings)
    measured = measure_structures(mask, image.affine, predictor.structures, Z_AXIS, image)
    volumes = {structure: measures.volume_ml for structure, measures in measured.items()}
    if output.uncertainty and found.entropy is not None:
        write_label_map(output.uncertainty, found.entropy, image.stored)
    write_label_map(output.path, mask, image.stored)  # last, so that a killed command leaves no mask without its rows
    path = output.path.relative_to(output.out).as_posix()
    done.written.append(str(output.path))
    volume_table, table_of_measures = tables
    done.volumes += volume_table.add(output.case, path, volumes, found)
    rows = measures_rows(output.case, path, Z_AXIS, image.stored, measured)
    table_of_measures.put(path, rows)
    done.measures += rows
    done.trust[str(output.path)] = trust_of(found)
    told = ", ".join(f"{structure} {volume:.1f} ml" for structure, volume in volumes.items())
    say(f"{output.path}: {told or 'no structure'}{expected_words(found)}")
    _write_seg(output, mask, image, annotated is not None, seg_writer, done)


def _write_seg(
    output: "Output",
    mask: "np.ndarray",
    image: "VolumeStream",
    by_hand: bool,
    seg_writer: "SegWriter | None",
    done: _Done,
) -> None:
    """Write a mask's DICOM SEG, where that is asked for; else say so of one that is there of an earlier mask."""
    if seg_writer:
        for line in seg_writer.write(output.dicom_seg, mask, output.scan.channels[0], image.stored, by_hand):
            say(line)
        done.dicom_seg.append(str(output.dicom_seg))
    elif output.earlier_dicom_seg:
        say(f"note: '{output.earlier_dicom_seg}' is of an earlier mask: --dicom-seg writes it anew")


if __name__ == "__main__":
    run(main)
