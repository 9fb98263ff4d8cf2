"""Large memory pages for TensorFlow's maps on a CPU: a step goes through gigabytes, 4 KiB at a time without them.

A seventh of a step of preset `kseg` went into finding pages (docs/decisions.md). Linux gives pages of 2 MiB to memory
for which a program asks for them, the common setting ("madvise"), or to all or none of it. TensorFlow does not ask.
Its allocator (`TF_CPU_ALLOCATOR_USE_BFC`, see `kseg.console.tensorflow_start`) keeps every piece of memory that it once
had from the system, so it is enough to make it have a large piece at the start, and to ask for that one. Untouched
memory costs nothing.
"""

import ctypes
import mmap
import os
from functools import cache

import numpy as np
import tensorflow as tf

from kseg.nn.cpu_features import on_tensorflows_cpu

MEBIBYTE = 2**20
MOST_MEBIBYTES = 8 * 1024


@cache
def use_huge_pages() -> bool:
    """Ask for large pages for the maps of this process, once; say whether the system took note.

    For a quarter of the machine's memory, at most 8 GiB: what is beyond has small pages. Where there are none (other
    systems, a limit of address space) nothing changes.
    """
    if not on_tensorflows_cpu() or not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    memory = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    mebibytes = min(memory // 4 // MEBIBYTE, MOST_MEBIBYTES)
    try:
        with tf.device("CPU:0"):  # two axes, since the number of bytes does not fit a shape's 32 bits
            piece = tf.raw_ops.Empty(shape=[mebibytes, MEBIBYTE], dtype=tf.uint8)
    except tf.errors.ResourceExhaustedError:
        return False
    bytes_of_piece = np.frombuffer(memoryview(piece), np.uint8)
    begin = -(-bytes_of_piece.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (bytes_of_piece.ctypes.data + bytes_of_piece.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return bool(advise(begin, end - begin, mmap.MADV_HUGEPAGE) == 0)
