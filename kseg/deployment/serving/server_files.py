"""What TensorFlow Serving is given beside a model's versions: which to load, and how many volumes to take at once."""

import json
from pathlib import Path

from kseg.runs.owned_files import BATCHING, MODELS
from kseg.storage.listing import listed_file

MODELS_TEXT = """\
# For tensorflow_model_server --model_config_file, where the run's folder is /models/{name} (as in its container).
model_config_list {{
  config {{
    name: {quoted_name}
    base_path: {quoted_path}
    model_platform: "tensorflow"
    # The newest version; while it is loaded the one before serves on.
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

BATCHING_TEXT = """\
# For tensorflow_model_server --enable_batching=true --batching_parameters_file. Volumes are not merged: a batch of
# requests needs one shape, or the server refuses all of them, and a volume keeps every core busy by itself. What is
# bounded is how many are worked on, and how many wait.
max_batch_size { value: 1 }       # volumes of a request, too: one each
batch_timeout_micros { value: 0 } # there is nothing to wait for
num_batch_threads { value: 1 }    # volumes at once; each takes its own memory
max_enqueued_batches { value: 4 } # volumes that wait, for each signature; what is more is refused as UNAVAILABLE
"""


def write_server_files(folder: Path, name: str) -> None:
    """Write `models.config` and `batching.config` into a run's folder, each all or not at all.

    Args:
        folder: in which the versions are.
        name: under which the model is served, of letters, digits and `._-`.
    """
    texts = {
        MODELS: MODELS_TEXT.format(name=name, quoted_name=json.dumps(name), quoted_path=json.dumps(f"/models/{name}")),
        BATCHING: BATCHING_TEXT,
    }
    for file, text in texts.items():
        with listed_file(folder / file) as path:
            path.write_text(text, encoding="utf-8")
