"""Cases prepared by Apache Beam, on whatever machines its runner has.

Sources lie in a folder that all of them see, shards in one or in an object store.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from pydantic import ValidationError

from kseg.console.errors import InputError
from kseg.records.destinations import own_file
from kseg.records.write_case import CaseJob, Outcome, prepare_case


def run_jobs_in_beam(jobs: Sequence[CaseJob], options: Sequence[str]) -> Iterator[Outcome]:
    """Yield what becomes of each job, once all are done.

    Args:
        jobs: what to do; each is one element of the pipeline.
        options: the runner's own, as on a command line: `--runner=FlinkRunner --flink_master=...`.

    Raises:
        InputError: Apache Beam is not installed, or a case was lost on the way.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise InputError("--engine beam needs Apache Beam: pip install 'kseg[beam]'") from None
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = pipeline | beam.Create(list(jobs)) | beam.Reshuffle() | beam.Map(prepare_and_tell)
    for job in jobs:
        outcome = None
        with suppress(OSError, ValidationError):
            outcome = Outcome.model_validate_json(job.outcome.read_bytes())
        if outcome is None:
            raise InputError(
                f"Beam's runner left no outcome of case '{job.scan.case}': is '{job.folder}' seen by its workers?"
            )
        job.outcome.unlink()
        yield outcome


def prepare_and_tell(job: CaseJob) -> None:
    """Prepare a case and leave what became of it in a file: a pipeline returns nothing."""
    outcome = prepare_case(job)
    with own_file(job.outcome) as path:
        path.write_text(outcome.model_dump_json(), encoding="utf-8")
