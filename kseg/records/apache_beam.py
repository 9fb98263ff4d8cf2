"""Cases prepared by Apache Beam, on whatever machines its runner has.

Sources lie in a folder that all of them see, shards in one or in an object store.
"""

import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.console.text import counted, first_line
from kseg.records.destinations import own_file
from kseg.records.write_case import CaseJob, Outcome, prepare_case
from kseg.storage.ownership import MARKER

SHARED = "all machines must see data.records under the same path"
OF_WORKER = re.compile(
    rf"^{re.escape(InputError.__module__)}\.InputError: (.*?)(?: \[while running .*)?$", re.MULTILINE
)


def run_jobs_in_beam(jobs: Sequence[CaseJob], options: Sequence[str]) -> Iterator[Outcome]:
    """Yield what becomes of each job, once all are done.

    Args:
        jobs: what to do; each is one element of the pipeline.
        options: the runner's own, as on a command line: `--runner=FlinkRunner --flink_master=...`.

    Raises:
        InputError: Apache Beam or its runner is not installed, the runner cannot be reached or has lost its workers, or
            a case was lost on the way.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise InputError("--engine beam needs Apache Beam: pip install 'kseg[beam]'") from None
    try:
        pipeline = beam.Pipeline(options=PipelineOptions([*options, *_for_dask(options)]))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"Beam cannot run with {' '.join(options)} ({first_line(error)}): name another --runner, or install what "
            "it needs (Dask's: pip install 'kseg[dask]')"
        ) from None
    say(f"{counted(len(jobs), 'case')} for the workers of Beam's runner: it says nothing until they have done all")
    with _told(), pipeline:
        _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(prepare_and_tell)
    for job in jobs:
        outcome = None
        with suppress(OSError, ValidationError):
            outcome = Outcome.model_validate_json(job.outcome.read_bytes())
        if outcome is None:
            raise InputError(
                f"Beam's runner left no outcome of case '{job.scan.case}' in '{job.folder}': {SHARED}, and the runner "
                "must be there until the end"
            )
        job.outcome.unlink()
        yield outcome


def _for_dask(options: Sequence[str]) -> list[str]:
    """What Dask needs beside the user's options: Beam would give 128 cases to one worker, kseg gives it one."""
    named = any("DaskRunner" in word for word in options)
    sized = any(word.startswith(("--dask_partition_size", "--dask_npartitions")) for word in options)
    return ["--dask_partition_size=1"] if named and not sized else []


@contextmanager
def _told() -> Iterator[None]:
    """Say in one line what a worker has said in one, and what became of Dask's scheduler or workers.

    Raises:
        InputError: it has happened within the block.
    """
    try:
        yield
    except Exception as error:  # a runner's own have no type in common; all others pass as they are
        if (line := _reason(error)) is None:
            raise
        raise InputError(line) from None


def _reason(error: Exception) -> str | None:
    said = "".join(traceback.format_exception_only(error))  # most runners pass on the text of a worker's error alone
    if of_worker := OF_WORKER.search(said):
        return of_worker[1]
    if (distributed := sys.modules.get("distributed")) is None:
        return None
    if isinstance(error, distributed.KilledWorker):
        return (
            "several of Dask's workers have died over the same case, perhaps for want of memory: run again, with fewer "
            "workers on a machine; finished cases are kept"
        )
    if isinstance(error, OSError) and error.errno is None:
        return f"Dask's scheduler cannot be reached ({first_line(error)}): check --dask_client_address"
    return None


def prepare_and_tell(job: CaseJob) -> None:
    """Prepare a case and leave what became of it in a file: a pipeline returns nothing.

    Raises:
        InputError: this worker does not see the job's folder on a disk, which it must not make: another disk would have
            it. A store is the same for all.
    """
    if isinstance(job.folder, Path) and not (job.folder / MARKER).exists():
        raise InputError(f"a worker does not see '{job.folder}': {SHARED}")
    outcome = prepare_case(job)
    with own_file(job.outcome) as path:
        path.write_text(outcome.model_dump_json(), encoding="utf-8")
