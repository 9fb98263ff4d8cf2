"""`kseg predict` of one scan, with the Keras model or with ONNX Runtime in the same sliding window.

Usage: python predict_kseg.py '{"form": "keras" or "onnx", "run": ..., "scan": ..., "out": ..., "progress": ...}'

Each window that is done adds a byte to the file `progress`. With ONNX Runtime TensorFlow is not imported.
"""

import json
import os
import sys

from kseg import predict
from kseg.console.command import run
from kseg.deployment import engine_file
from kseg.deployment.onnx_file import open_onnx
from kseg.inference.load_network import KerasNetwork

options = json.loads(sys.argv[1])
done = os.open(options["progress"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def counted(ask):
    """Do what `ask` does, and count the windows that are done."""

    def ask_and_count(*arguments):
        probabilities = ask(*arguments)
        os.write(done, bytes(len(probabilities)))
        return probabilities

    return ask_and_count


KerasNetwork.__call__ = counted(KerasNetwork.__call__)
engine_file.open_engine = lambda member: counted(open_onnx(member.onnx))  # what needs no TensorFlow is opened there
words = [options["run"], options["scan"], "--out", options["out"], "evaluation.flip_axes=[]"]
run(predict.main, [*words, *(["--engine"] if options["form"] == "onnx" else [])])
