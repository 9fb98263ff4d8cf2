"""A model on a server that segments scans."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseg.client.address import address_of
from kseg.client.connection import Connection, Prediction
from kseg.client.errors import Busy, Missing, no_answer_of_tf_serving
from kseg.client.retry import Deadline, with_retries
from kseg.client.signatures import Signature, choose_signature, signatures_of
from kseg.console.errors import InputError
from kseg.inference.predictor import Progress, Segmentation
from kseg.recipe.types import Code, Spacing
from kseg.volumes.channels import check_channels
from kseg.volumes.dicom_seg.algorithm import Algorithm
from kseg.volumes.volume_stream import VolumeStream, gather

SECONDS = 600.0
SECONDS_PER_MILLION_VOXELS = 10.0
"""Time for a scan, unless the user gives another: a processor may take a quarter of an hour for 100 million voxels."""
QUESTION_SECONDS = 30.0
"""Time for a question about a model."""
SOON = ("UNKNOWN", "START", "LOADING")
"""States of a version that will be available."""


class ServerPredictor:
    """A `Predictor` that sends scans to TF Serving.

    Args:
        server: HOST or HOST:PORT.
        model: the served model's name.
        protocol: "grpc" or "rest".
        version: of the model; None for the newest.
        deadline_seconds: for a scan; None for one that goes by its size.

    Raises:
        InputError: the server does not answer, or has no such model, or one that does not segment.
    """

    def __init__(
        self, server: str, model: str, protocol: str, version: int | None = None, deadline_seconds: float | None = None
    ):
        self._connection = _connect(server, model, protocol, version)
        self._model, self._version, self._deadline_seconds = model, version, deadline_seconds
        question = Deadline.within(min(QUESTION_SECONDS, deadline_seconds or QUESTION_SECONDS))
        try:
            described = with_retries(self._metadata, question)
            self._signatures = signatures_of(described, model)
        except InputError:
            raise
        except (TypeError, ValueError, AttributeError, LookupError) as error:  # of another form than TF Serving's
            raise no_answer_of_tf_serving(self._connection.address, f"of the model: {error}") from None
        self.identity = {"model": model, "version": self._connection.version}
        self.identity |= {"server": str(self._connection.address), "protocol": protocol}
        self.channels = self._signatures[0].channels
        self.assume_spacing_mm: Spacing = ()
        self.channel_names: tuple[str, ...] = ()
        self.structures: dict[str, tuple[int, ...]] = {}
        self.codes: dict[str, Code] = {}
        self.algorithm = Algorithm(model)
        self.seen = None
        self._gone = ""
        self.labels_of_files = None

    def start(self) -> str:
        """Return where scans go; the server is ready."""
        names = ", ".join(signature.name for signature in self._signatures)
        version = f", version {self._connection.version}," if self._connection.version else ""
        return f"model '{self._model}'{version} at {self._connection.address} segments scans (signatures {names})"

    def segment(self, scan: VolumeStream, name: str, progress: Progress, with_entropy: bool = False) -> Segmentation:
        """Send a scan, and return the label map that comes back; see `Predictor`."""
        if self._gone:  # another version would answer, of which nothing is known
            raise InputError(f"'{name}': {self._gone}")
        if self.channels is not None:
            check_channels(scan, f"'{name}'", "the model takes", self.channels)
        seconds = self._deadline_seconds or SECONDS + SECONDS_PER_MILLION_VOXELS * math.prod(scan.shape) / 1e6
        try:
            signature = choose_signature(self._signatures, scan.dtype, self._connection.types)
            self._connection.check_size(signature, scan.shape, scan.channels)
            predict = self._prediction(scan, name, signature, progress)
            labels = with_retries(predict, Deadline.within(seconds))
            if labels.shape != (1, *scan.shape) or labels.dtype.kind not in "iu":
                raise no_answer_of_tf_serving(
                    self._connection.address,
                    f"{labels.dtype} labels of shape {labels.shape} for voxels of shape {(1, *scan.shape)}",
                )
        except Missing as error:
            self._gone = str(error)
            if (version := self._connection.version) is not None:
                self._gone += f"; version {version}, which was there when the command began, is gone: run it again"
            raise InputError(f"'{name}': {self._gone}") from None
        except InputError as error:
            raise InputError(f"'{name}': {error}") from None
        return Segmentation(labels[0])

    def _prediction(self, scan: VolumeStream, name: str, signature: Signature, progress: Progress) -> Prediction:
        """Return the request, which alone holds the scan's voxels."""
        voxels = gather(scan, f"image '{name}'").array[np.newaxis].astype(signature.dtype, copy=False)
        spacing_mm = np.array([scan.spacing_mm], np.float32)
        return self._connection.prediction(signature, voxels, spacing_mm, progress)

    def _metadata(self, deadline: Deadline) -> Mapping[str, Any]:
        """Ask for the model's signatures; where there are none to be had, say what the server has of it instead."""
        try:
            return self._connection.metadata(deadline)
        except Missing:
            address, model = self._connection.address, f"model '{self._model}'"
            try:
                versions = self._connection.status(deadline)
            except Missing:
                raise Missing(
                    f"{address} serves no {model}: its name is that of the server's --model_name or models.config"
                ) from None
            states = {int(version.get("version", 0)): version.get("state", "UNKNOWN") for version in versions}
            listed = ", ".join(f"{version} ({state})" for version, state in sorted(states.items()))
            if self._version is not None and self._version not in states:
                raise Missing(f"{model} at {address} has no version {self._version}: it has {listed}") from None
            asked = states.values() if self._version is None else [states[self._version]]
            if any(state in SOON for state in asked):
                raise Busy(f"{model} at {address} is being loaded: its versions are {listed}") from None
            failures = [version.get("status", {}).get("error_message", "") for version in versions]
            reasons = "; ".join([f"its versions are {listed}", *filter(None, failures)])
            raise Missing(f"{model} at {address} cannot be used ({reasons}): see the server's log") from None


def _connect(server: str, model: str, protocol: str, version: int | None) -> Connection:
    if protocol == "rest":
        from kseg.client import rest

        return rest.RestConnection(address_of(server, rest.PORT), model, version)
    from kseg.client import grpc

    return grpc.GrpcConnection(address_of(server, grpc.PORT), model, version)
