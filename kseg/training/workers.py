"""The processes that train one model together, on one machine or several: who they are, and what they agree on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kseg.console.errors import InputError, MachineError
from kseg.console.messages import say
from kseg.console.text import first_line
from kseg.patches.patch_source import WHOLE, WorkerShare
from kseg.recipe.sections import Recipe

JOBS = ("chief", "worker")
"""Types of tasks that train, as TensorFlow names them, in their order; one chief at most."""
FIRST_PORT, PORTS = 12000, 20000
"""From here on SLURM's jobs have their ports: below those that systems hand out by themselves."""
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'


LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
"""What TensorFlow raises in one worker when another has ended."""


@dataclass(frozen=True)
class Workers:
    """Who trains: `count` processes, of which this is the `index`-th, each with as many devices as the others.

    The first, the chief, alone writes files. With one process `strategy` is TensorFlow's for the devices it sees.
    """

    strategy: tf.distribute.Strategy
    count: int = 1
    index: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and shows what all of them do."""
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Devices of all workers together."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def devices(self) -> int:
        """Devices of this worker."""
        return self.replicas // self.count

    def check_shared(self, recipe: Recipe) -> None:
        """A batch is shared evenly by all devices, and all make each step.

        Raises:
            InputError: they cannot.
        """
        if self.replicas > 1 and recipe.train.precision == "mixed_float16":
            raise InputError(
                "train.precision = mixed_float16 leaves out steps that overflow, and would see those of the first of "
                f"{self.replicas} devices alone: choose mixed_bfloat16, or train on one device"
            )
        batch_size = recipe.patches.batch_size
        if batch_size % self.replicas:
            raise InputError(
                f"patches.batch_size = {batch_size} cannot be shared by {self.replicas} devices: "
                f"choose a multiple of {self.replicas}"
            )

    def feed(
        self, batches: Callable[[WorkerShare], tf.data.Dataset]
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Return what Keras draws batches from, given those of a share.

        Each worker makes its own share, so that TensorFlow is left nothing to shard.
        """
        if self.replicas == 1:
            return batches(WHOLE)
        return self.strategy.distribute_datasets_from_function(
            lambda context: batches(WorkerShare(context.input_pipeline_id, context.num_input_pipelines, self.devices))
        )

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return the sums of what each worker gives, the same on all of them; all must call it, in one order."""
        if self.count == 1:
            return list(values)
        return self.strategy.reduce("SUM", tf.constant(values, tf.float64), axis=None).numpy().tolist()

    def from_chief(self, value: float) -> float:
        """Return what the chief gives; all must call it, in one order."""
        return self.sums([value if self.is_chief else 0.0])[0]

    def check_alike(self, text: str) -> None:
        """All workers must come with the same text, which says what they are about to do.

        Raises:
            InputError: on all of them, one comes with another than the chief's.
        """
        number = float(int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big"))  # a float64 holds 53 bits
        others = self.sums([float(number != self.from_chief(number))])[0]
        if others:
            raise InputError(
                f"{others:.0f} of {self.count} workers begin otherwise than the first: start all of them with the same "
                "recipe and options, in a working folder that all of them see"
            )

    @contextmanager
    def missed(self) -> Iterator[None]:
        """Say in one line that another worker has ended, or cannot be reached, where TensorFlow has several.

        Raises:
            MachineError: it has happened within the block.
        """
        try:
            yield
        except LOST as error:
            if self.count == 1:
                raise
            reason = next((line for line in str(error).splitlines() if "task:" in line), "unknown")[:200]
            raise MachineError(
                f"worker {self.index + 1} of {self.count} ends because another has ended or cannot be reached "
                f"({reason}): start all of them again with --resume"
            ) from None


def start_workers() -> Workers:
    """Join the workers that `TF_CONFIG` or SLURM names, if there are several; TensorFlow must not have begun yet.

    On one machine, one device needs no strategy; two or more, GPUs if there are any, else CPUs, are mirrored.

    Raises:
        InputError: `TF_CONFIG` or SLURM's variables make no sense, or the others cannot be joined.
    """
    resolver = _from_tf_config() or _from_slurm()
    if resolver is None:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        if len(devices) == 1:
            return Workers(tf.distribute.get_strategy())
        return Workers(tf.distribute.MirroredStrategy([device.name for device in devices]))
    addresses = _addresses(resolver.cluster_spec().as_dict())
    index = [place for place, _ in addresses].index((resolver.task_type, resolver.task_id))
    own = addresses[index][1]
    say(f"worker {index + 1} of {len(addresses)}, {own}: waits for {', '.join(a for _, a in addresses if a != own)}")
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(f"worker {index + 1} at {own} cannot join the others: {first_line(error)}") from None
    return Workers(strategy, len(addresses), index)


def _from_tf_config() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """TensorFlow's own reader of `TF_CONFIG`, once what it says is checked; None where it names no second worker."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster = {job: list(config["cluster"][job]) for job in config.get("cluster", {})}
        if sum(len(found) for found in cluster.values()) < 2:
            return None
        task = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"TF_CONFIG is not what TensorFlow expects, which is {EXAMPLE}: received {text!r}") from None
    if others := set(cluster) - set(JOBS):
        raise InputError(f"TF_CONFIG names tasks of the type '{others.pop()}': only 'worker' and one 'chief' train")
    addresses = _addresses(cluster)
    if len(cluster.get("chief", ())) > 1 or len({address for _, address in addresses}) < len(addresses):
        raise InputError(f"TF_CONFIG must name one chief at most, and no address twice: received {text!r}")
    if task not in [place for place, _ in addresses]:
        raise InputError(f"TF_CONFIG says that this is {task[0]} {task[1]}, but names no such task: received {text!r}")
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _from_slurm() -> tf.distribute.cluster_resolver.ClusterResolver | None:
    """The tasks of the step that `srun` started, by TensorFlow's own reader; None where there is no second task.

    TensorFlow's reader is asked for addresses alone. It would also deal out the node's GPUs, of which it wants some
    on every node and sees but the task's own where SLURM has bound them; that is left to SLURM.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks < 2 or "SLURM_PROCID" not in os.environ:
        return None
    port = FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % PORTS  # jobs beside each other on a node differ
    try:
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = slurm.cluster_spec()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"SLURM's variables name no workers ({error}): start with srun, or set TF_CONFIG") from None
    task_type, task = slurm.get_task_info()
    node, address = os.environ.get("SLURMD_NODENAME"), cluster.task_address(task_type, task)
    if node is not None and address.rpartition(":")[0] != node:
        # It sorts the nodes by name, SLURM by number: node10 before node9.
        raise InputError(f"TensorFlow takes this task on '{node}' for the one at '{address}': set TF_CONFIG instead")
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type=task_type, task_id=task, num_accelerators={"GPU": gpus} if gpus else {}, rpc_layer="grpc"
    )


def _addresses(cluster: dict[str, Any]) -> list[tuple[tuple[str, int], str]]:
    """Tasks, by type and index, and their addresses, the chief first."""
    return [((job, task), str(address)) for job in JOBS for task, address in enumerate(cluster.get(job, ()))]
