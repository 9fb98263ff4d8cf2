"""Large pages are asked for where Linux has them, for memory that TensorFlow's maps then lie in."""

import subprocess
import sys

import pytest

ASK_AND_LOOK = """
from kseg.console.tensorflow_start import start_tensorflow
start_tensorflow()
import numpy as np
import tensorflow as tf
from kseg.training.huge_pages import use_huge_pages
asked = use_huge_pages()
maps = tf.ones((16, 2**20))  # 64 MiB
address = np.frombuffer(memoryview(maps), np.uint8).ctypes.data + 2**25
flags, inside = "", False
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first and not first.endswith(":"):
        begin, end = (int(number, 16) for number in first.split("-"))
        inside = begin <= address < end
    elif inside and first == "VmFlags:":
        flags = line
print(asked, "hg" in flags.split(), use_huge_pages() == asked)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: its madvise alone gives large pages")
def test_maps_lie_in_memory_for_which_large_pages_were_asked():
    """In a process of its own: the allocator keeps what it has, and so does this one."""
    answer = subprocess.run([sys.executable, "-c", ASK_AND_LOOK], capture_output=True, text=True, check=True).stdout
    asked, lies_there, same_again = answer.split()
    assert asked == lies_there and same_again == "True"


def test_nothing_changes_where_the_system_has_none(monkeypatch):
    from kseg.training import huge_pages

    monkeypatch.delattr(huge_pages.mmap, "MADV_HUGEPAGE", raising=False)
    assert not huge_pages.use_huge_pages.__wrapped__()
