"""Cases side by side: in this process, or in several that end when it ends."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process

from kseg.console.errors import InputError
from kseg.records.write_case import CaseJob, Outcome, prepare_case


def run_jobs(jobs: Sequence[CaseJob], workers: int = 1) -> Iterator[Outcome]:
    """Yield what becomes of each job as it is done, in whatever order; leaving early drops those not begun.

    Raises:
        InputError: a worker was killed, as systems do when memory ends.
    """
    if min(workers, len(jobs)) <= 1:
        yield from map(prepare_case, jobs)
        return
    # Spawned, not forked: libraries that hold threads do not survive a fork.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), initializer=_end_with_parent)
    try:
        for done in as_completed([pool.submit(prepare_case, job) for job in jobs]):
            yield done.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker was killed, perhaps for want of memory: run again, with fewer --workers; finished cases are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this process as soon as its parent has: a worker that lives on would write into the next one's folder."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
