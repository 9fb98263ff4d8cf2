"""TensorFlow as commands start it: without libraries that it and Keras import and no command uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.console.tensorflow_start import start_tensorflow

STARTED = """
import json, os, sys
{before}
from kseg.console.tensorflow_start import UNUSED, start_tensorflow
start_tensorflow()
imported = [name for name in UNUSED if name in sys.modules]
import matplotlib
print(json.dumps([imported, os.environ["KERAS_BACKEND"], hasattr(matplotlib, "figure"), "keras" in sys.modules]))
"""


@pytest.mark.parametrize(("before", "imported"), [("", []), ("import matplotlib.figure", ["matplotlib"])])
def test_libraries_that_no_command_uses_are_imported_where_they_are_used(before: str, imported: list[str]) -> None:
    """One that is there already stays, and another can be imported afterwards."""
    command = [sys.executable, "-c", STARTED.format(before=before)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(told) == [imported, "tensorflow", bool(before), True]


SETTINGS = """
from kseg.console.tensorflow_start import start_tensorflow
start_tensorflow()
import keras
config = keras.config
print(config.backend(), config.image_data_format(), config.floatx(), config.epsilon(), keras.layers.Dense(1).dtype)
"""


def test_settings_of_another_project_of_keras_do_not_count(tmp_path: Path) -> None:
    settings = {"backend": "torch", "image_data_format": "channels_first", "floatx": "float64", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    command, environment = [sys.executable, "-c", SETTINGS], os.environ | {"KERAS_HOME": str(tmp_path)}
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert told.split() == ["tensorflow", "channels_last", "float32", "1e-07", "float32"]


def test_another_backend_of_keras_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(InputError, match=r"^KERAS_BACKEND is 'torch', and kseg's commands run on TensorFlow: unset"):
        start_tensorflow()


ENDED = """
import atexit, sys, types
from kseg.console.command import run
{imported}
class TakenApart:
    def __del__(self):
        print("taken apart")
held = TakenApart()
def main(argv):
    atexit.register(print, "at the end")
    print("done")
main.__module__ = "kseg.predict"
run(main)
"""


@pytest.mark.parametrize(
    ("imported", "printed"),
    [
        ("", ["done", "at the end", "taken apart"]),
        ('sys.modules["tensorflow"] = types.ModuleType("tensorflow")', ["done", "at the end"]),
    ],
)
def test_a_command_that_has_tensorflow_does_not_wait_for_it_to_be_taken_apart(
    imported: str, printed: list[str]
) -> None:
    command = [sys.executable, "-c", ENDED.format(imported=imported)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines() == printed
