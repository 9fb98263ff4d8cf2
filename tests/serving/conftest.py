"""Models behind a stand-in for TF Serving (README.md), in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import Server

MODELS = {
    "leg": {},
    "plain": {"types": ["float32"]},
    "two": {"channels": 2},
    "signed": {"labels_type": "int16", "bright": -300},
    "wide": {"labels_type": "uint16", "bright": 65000},
    "flat": {"voxel_axes": 4},
    "turned": {"turned": True},
    "real": {"labels_type": "float32"},
    "old": {"types": ["float32"], "name": "serving_default"},
}


@pytest.fixture(scope="session")
def models(made_once: Callable[[str, Callable[[Path], None]], Path]) -> dict[str, Path]:
    """Their folders by name; not to change."""

    def write(folder: Path) -> None:
        from stand_in import write_model

        for name, options in MODELS.items():
            write_model(folder / name, **options)

    folder = made_once("models", write)
    return {name: folder / name for name in MODELS}


@pytest.fixture(scope="session")
def start(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a server with flags, and wait until it listens."""
    running: list[Server] = []

    def start_server(*flags: str) -> Server:
        running.append(Server(models, tmp_path_factory.mktemp("server") / "hold", flags))
        return running[-1]

    yield start_server
    for one in running:
        one.kill()


@pytest.fixture(scope="session")
def server(start: Callable[..., Server]) -> Server:
    """A server that runs two requests at once and lets two more wait."""
    return start("--threads", "2", "--max-enqueued-batches", "2")


@pytest.fixture(scope="session")
def narrow(start: Callable[..., Server]) -> Server:
    """A server that takes one request at a time, small ones, and gives up after six seconds by REST."""
    room = ("--threads", "1", "--max-enqueued-batches", "0")
    return start(*room, "--max-message-bytes", "1000", "--rest-api-timeout-in-ms", "6000")
