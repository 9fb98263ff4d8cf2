"""Remote file systems in TensorFlow, so that a graph reads shards where they lie, as `s3://bucket/legs`."""

import os
import warnings
from contextlib import suppress
from importlib import metadata

import tensorflow as tf

from kseg.console.errors import InputError
from kseg.storage.locations import Location, is_remote

ALSO_KNOWN_AS = {"S3_ENDPOINT": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "AWS_REGION": ("AWS_DEFAULT_REGION",)}
"""Variables that tensorflow-io's S3 client reads, and the names under which everything else, fsspec too, knows them."""


def open_file_system(folder: Location) -> None:
    """See to it that TensorFlow can read in `folder`: tensorflow-io is loaded for what it does not know by itself.

    Raises:
        InputError: tensorflow-io is missing, or does not suit this TensorFlow.
    """
    if not is_remote(folder):
        return
    for name, others in ALSO_KNOWN_AS.items():
        known = next((os.environ[other] for other in others if other in os.environ), None)
        if known:
            os.environ.setdefault(name, known)
    scheme = str(folder).split("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        with suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # with another TensorFlow it loads nothing, and says so at length
            import tensorflow_io  # noqa: F401
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise InputError(
            f"TensorFlow {tf.__version__} cannot read '{folder}' ({_why_not()}): set train.cache_dir to a folder of a "
            "local disk, or pip install 'kseg[io]' in an environment of its own"
        )


def _why_not() -> str:
    try:
        return f"tensorflow-io {metadata.version('tensorflow-io')} does not bring it"
    except metadata.PackageNotFoundError:
        return "tensorflow-io is not installed"
