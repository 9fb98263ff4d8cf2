"""A connection to one model on a server, whatever protocol it speaks."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np

from kseg.client.address import Address
from kseg.client.retry import Deadline
from kseg.client.signatures import Signature
from kseg.inference.predictor import Progress

Prediction = Callable[[Deadline], np.ndarray]
"""A request for a label map, ready to be made, and made again."""


class Connection(Protocol):
    """How a model on a server is asked. Requests raise `InputError`, of `kseg.client.errors`."""

    @property
    def address(self) -> Address:
        """Of the server."""

    @property
    def version(self) -> int | None:
        """Of the model, that is asked; None where nobody has named one, and `metadata` has not told the newest."""

    @property
    def types(self) -> Set[np.dtype]:
        """Types of tensors that the protocol carries."""

    def metadata(self, deadline: Deadline) -> Mapping[str, Any]:
        """Return the `SignatureDef`s of the model by their names, as protobuf writes them in JSON.

        From then on the version is asked that has these: while scans are sent another may take its place.
        """

    def status(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        """Return the `ModelVersionStatus` of each version that the server knows, as protobuf writes it in JSON."""

    def check_size(self, signature: Signature, shape: Sequence[int], channels: int) -> None:
        """Raise `InputError` for a volume `(x, y, z)` that the protocol does not carry, before it is read."""

    def prediction(
        self, signature: Signature, voxels: np.ndarray, spacing_mm: np.ndarray, progress: Progress
    ) -> Prediction:
        """Return a request for labels.

        Args:
            signature: the one that is asked.
            voxels: `(1, x, y, z, channels)` of the signature's type.
            spacing_mm: `(1, 3)`, float32.
            progress: wraps what a user may watch.

        Returns:
            A function that returns labels as the server gave them; nothing is known of their shape yet.
        """
