"""A pytest plugin: files of tests run in processes, several at once, and one that has grown gives way to a new one.

TensorFlow keeps what it has compiled until its process ends: all tests in one process come to more than 10 GB. A file
runs in one process, so a fixture of a module or a session is made once for it. Whoever names files or tests alone, or
wants to look inside (--pdb), gets them in pytest's own process.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MAX_RESIDENT_MB = 2000
"""A process that holds more after a file takes no further one: TensorFlow alone takes 600, and seconds to load."""
SLOW = (
    "test_tensorboard.py",
    "test_segmenter.py",
    "test_region_dataset.py",
    "test_resuming.py",
    "test_view_page.py",
    "test_commands.py",
    "test_prepare.py",
    "test_served_model.py",
    "test_exported_run.py",
    "test_bench_gpu.py",
    "test_workers.py",
    "test_start_from.py",
    "test_killed.py",
    "test_reports_offline.py",
)
"""Files of tests that take longest, which begin first: no core is idle at the end for one that began late."""
SHARED_FOLDER = "KSEG_TESTS_SHARED_FOLDER"
"""Environment variable: a folder for what the processes make once for all of them."""
LOOK_INSIDE = ("collectonly", "usepdb", "trace", "lf", "failedfirst", "stepwise", "showfixtures", "setupplan")
EXITS_WITH_REPORTS = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)
Reply = dict[str, Any]


class Controller:
    """In pytest's own process: gives files to workers, and reports what came of them as if it had run them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        named = [Path(word) for word in config.args]
        found = [sorted(path.rglob("test_*.py")) if path.is_dir() else [path] for path in named]
        left_out = {Path(path).resolve() for path in config.option.ignore or ()}
        whole = (file for files in found for file in files)
        self.files = [str(file) for file in whole if left_out.isdisjoint((file.resolve(), *file.resolve().parents))]
        self.options = [word for word in config.invocation_params.args if word not in config.args]
        self.jobs = config.option.jobs
        self.files_done = 0
        self.replies: queue.Queue[Reply | Exception] = queue.Queue()
        self.workers: list[Worker] = []
        self.stopped = False
        self.tests = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Leave collection to the workers: it would import all that the tests do."""
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # As pytest-xdist does it: each process has its own folder in that of pytest.
        folder = self.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        (folder / "shared").mkdir()
        rank = {name: place for place, name in enumerate(SLOW)}
        files = sorted(enumerate(self.files), key=lambda numbered: rank.get(Path(numbered[1]).name, len(SLOW)))
        self._run(session, files, folder)
        return True

    def _run(self, session: pytest.Session, files: list[tuple[int, str]], folder: Path) -> None:
        """Have files run, several at once, and report each when it is done."""
        waiting, lock = iter(files), threading.Lock()
        threads = [threading.Thread(target=self._work, args=(waiting, lock, folder)) for _ in range(self.jobs)]
        try:
            for thread in threads:
                thread.start()
            for _ in files:
                reply = self.replies.get()
                if isinstance(reply, Exception):
                    raise reply
                self._report(session, reply)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
        except BaseException:
            self.stopped = True
            for worker in self.workers:
                worker.kill()
            raise
        finally:
            for thread in threads:
                thread.join()

    def _work(self, waiting: Iterator[tuple[int, str]], lock: threading.Lock, folder: Path) -> None:
        """Have files run one after another, by a new worker where the last has grown."""
        try:
            worker = None
            while not self.stopped:
                with lock:
                    number, file = next(waiting, (-1, ""))
                if number < 0:
                    break
                if worker is None:
                    worker = Worker(self.options, folder / f"worker-{number}.log", folder / "shared")
                    self.workers.append(worker)
                own = folder / f"file-{number}"
                reply = worker.run(file, own)
                self.replies.put(reply)
                if reply["status"] == pytest.ExitCode.OK:
                    shutil.rmtree(own, ignore_errors=True)
                if reply["resident_mb"] > MAX_RESIDENT_MB:
                    worker.end()
                    worker = None
            if worker is not None:
                worker.end()
        except Exception as error:  # the main thread waits for replies: it raises this
            self.replies.put(error)

    def _report(self, session: pytest.Session, reply: Reply) -> None:
        """Pass on what happened in a file, as the hooks of pytest would have said it."""
        hook = self.config.hook
        self.tests += sum(name == "report" and words.get("when") == "setup" for name, words in reply["events"])
        self.files_done += 1
        session.testscollected = self.tests * len(self.files) // self.files_done  # a guess, until the last file
        for name, words in reply["events"]:
            if name == "warning":
                said = warnings.WarningMessage(UserWarning(words["text"]), UserWarning, words["file"], words["line"])
                hook.pytest_warning_recorded.call_historic(
                    kwargs={"warning_message": said, "when": "runtest", "nodeid": words["nodeid"], "location": None}
                )
            elif name == "report":
                report = hook.pytest_report_from_serializable(config=self.config, data=words)
                if isinstance(report.longrepr, list):  # JSON has no tuples: this says where and why one was skipped
                    report.longrepr = tuple(report.longrepr)
                if isinstance(report, pytest.CollectReport):
                    hook.pytest_collectreport(report=report)
                else:
                    if report.when == "setup":
                        hook.pytest_runtest_logstart(nodeid=report.nodeid, location=report.location)
                    hook.pytest_runtest_logreport(report=report)
                    if report.when == "teardown":
                        hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)
        if reply["status"] not in EXITS_WITH_REPORTS:
            crash = pytest.CollectReport(reply["file"], "failed", f"its process ended: {reply['said']}", None)
            hook.pytest_collectreport(report=crash)


class Worker:
    """A process that runs files of tests, one at a time."""

    def __init__(self, options: list[str], log: Path, shared: Path) -> None:
        self.log = log
        command = [sys.executable, __file__, str(self.log), *options]
        environment = os.environ | {SHARED_FOLDER: str(shared)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

    def run(self, file: str, folder: Path) -> Reply:
        """Return what came of a file, whose temporary files go to `folder`."""
        try:
            print(json.dumps({"file": file, "folder": str(folder)}), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        except (OSError, ValueError):  # it is gone
            self.kill()
            said = self.log.read_text(encoding="utf-8", errors="replace")[-10_000:] if self.log.exists() else ""
            status = int(pytest.ExitCode.INTERNAL_ERROR)
            return {"file": file, "status": status, "events": [], "resident_mb": sys.maxsize, "said": said}

    def end(self) -> None:
        """Let it end: no file is left for it."""
        self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        """End it at once, with the processes that its tests have started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Recorder:
    """In a worker: writes down what happens, for the controller."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.config: pytest.Config

    def pytest_configure(self, config: pytest.Config) -> None:
        self.config = config

    def _record(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        data = self.config.hook.pytest_report_to_serializable(config=self.config, report=report)
        self.events.append(("report", data))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._record(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._record(report)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        where = {"file": warning_message.filename, "line": warning_message.lineno}
        self.events.append(("warning", {"text": text, "nodeid": nodeid, **where}))


def resident_mb() -> int:
    """Memory that this process holds; nothing where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


def serve(log: str, options: list[str]) -> None:
    """Run the files that standard input names, one a line, and answer on standard output, which no test then has."""
    with os.fdopen(os.dup(0)) as asked, os.fdopen(os.dup(1), "w") as replies:
        nothing, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(nothing, 0)
        os.dup2(written, 1)
        os.dup2(written, 2)
        for line in asked:
            task, recorder = json.loads(line), Recorder()
            own = ["--jobs=0", "-p", "no:cacheprovider", f"--basetemp={task['folder']}", task["file"]]
            status = pytest.main([*options, *own], plugins=[recorder])
            said = "" if status in EXITS_WITH_REPORTS else Path(log).read_text(errors="replace")[-10_000:]
            reply: Reply = {"file": task["file"], "status": int(status), "events": recorder.events, "said": said}
            print(json.dumps(reply | {"resident_mb": resident_mb()}), file=replies, flush=True)


def add_option(parser: pytest.Parser) -> None:
    """Add --jobs."""
    parser.addoption(
        "--jobs",
        type=int,
        default=2,
        metavar="N",
        help="run folders of tests by files in N processes at once, which end once they have grown; "
        "0: all in this process, as what is named by file or test always is",
    )


def configure(config: pytest.Config) -> None:
    """Give the work to processes, unless one is to look inside."""
    folders = any(Path(word).is_dir() for word in config.args)
    look_inside = any(getattr(config.option, name, False) for name in LOOK_INSIDE)
    if config.option.jobs > 0 and folders and not look_inside:
        config.pluginmanager.register(Controller(config), "worker_processes")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2:])
