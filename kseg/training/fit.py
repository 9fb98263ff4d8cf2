"""A training run: model, patches, budget and callbacks brought together."""

import time
from statistics import median
from typing import Any

import keras
import tensorflow as tf

from kseg.console.command import say
from kseg.console.errors import InputError
from kseg.console.locations import Location
from kseg.nn.networks import build_network, trainable_parameters
from kseg.nn.segmentation_loss import SegmentationLoss
from kseg.nn.segmenter import Segmenter
from kseg.patches.pipeline import PatchSource
from kseg.patches.waiting import Stopwatch
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import Recipe
from kseg.records.manifest import Manifest
from kseg.records.read import check_shards
from kseg.training.averaging import ValidateAverage
from kseg.training.board import Board
from kseg.training.checkpoints import Checkpoint, State, load_checkpoint
from kseg.training.devices import choose_precision, choose_strategy
from kseg.training.display import Display
from kseg.training.history import epochs_to_share, read_history
from kseg.training.optimizer import build_optimizer
from kseg.training.run_folder import Contract, RunFolder
from kseg.training.schedule import Budget
from kseg.training.times import Times
from kseg.training.watch import PenaltyWatch


def fit(
    recipe: Recipe,
    records: Location,
    manifest: Manifest,
    folder: RunFolder,
    contract: Contract,
    resume: bool,
    began: float,
) -> dict[str, Any]:
    """Train the recipe's model through Keras' `fit`, and return what came of it.

    Args:
        recipe: all choices.
        records: folder of the shards, which TensorFlow can read (`kseg.patches.file_systems`).
        manifest: of the dataset; it has training and validation cases.
        folder: of the run; a run that is not resumed replaces what is there, once its model is made.
        contract: channels and labels of the dataset.
        resume: go on from the newest checkpoint instead of starting with new weights.
        began: `time.monotonic()` when the command began; the time budget counts from there.

    Raises:
        InputError: a shard is damaged, no checkpoint is sound, or the batch cannot be shared by the devices.
    """
    options = recipe.train
    strategy = choose_strategy(recipe.patches.batch_size)
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(choose_precision(options.precision))
    with strategy.scope():
        model, state = load_checkpoint(folder, contract) if resume else (compiled_model(recipe, contract), State())
    if not resume:
        folder.create(dump_recipe(recipe), contract)
    precision = model.network.get_layer("output").dtype_policy.name
    say(
        f"{model.network.name}: {trainable_parameters(model.network):,} parameters, {precision} "
        f"on {strategy.num_replicas_in_sync} device(s), patches {recipe.patches.size} x {recipe.patches.batch_size}; "
        f"from epoch {state.epochs_done + 1}"
    )
    epochs = range(state.epochs_done, options.epochs)
    train = PatchSource(records, manifest, "train", recipe.patches, recipe.seed, contract.scales, recipe.augmentation)
    val = PatchSource(records, manifest, "val", recipe.patches, recipe.seed, contract.scales)
    val_steps = -(-options.validation_patches // recipe.patches.batch_size)
    budget = Budget(options, state.epochs_done, state.spent_seconds + time.monotonic() - began)
    nothing_left = resume and budget.progress == 1.0
    checkpoint = Checkpoint(folder, budget, state.best_dice)
    display = Display(budget, model.class_names)
    val_batches = val.batches([0], val_steps).cache()
    spacing_mm = manifest.plan.target_spacing_mm
    stopwatch = Stopwatch()
    try:
        history = model.fit(
            stopwatch.watch(train.batches(epochs, options.steps_per_epoch)),
            steps_per_epoch=options.steps_per_epoch,
            initial_epoch=state.epochs_done,
            epochs=state.epochs_done if nothing_left else options.epochs,
            validation_data=val_batches,
            callbacks=[
                Times(stopwatch),
                Board(recipe, folder.logs, folder.precision_recall, budget, val_batches, model.class_names, spacing_mm),
                budget,
                keras.callbacks.TensorBoard(folder.logs, write_graph=False),
                keras.callbacks.CSVLogger(folder.history, append=resume),
                checkpoint,
                display,
                ValidateAverage(),
                PenaltyWatch(),
                *_early_stop(options.patience, state.best_dice),
            ],
            shuffle=False,
            verbose=0,
        )
    except tf.errors.OpError:
        check_shards(records, manifest)  # a damaged shard is the likely cause, and deserves its name
        raise
    finally:
        display.close()
    curves = read_history(folder.history)
    return {
        "run": str(folder.path),
        "parameters": trainable_parameters(model.network),
        "epochs": state.epochs_done + len(history.epoch),
        "best_val_dice": checkpoint.best_dice,
        "epochs_to_90": epochs_to_share(curves["val_dice"], 0.9),
        "alpha": curves["alpha"][-1] if "alpha" in curves else None,
        "step_seconds": median(curves["step_seconds"]),
        "minutes": budget.spent_seconds / 60,
    }


def compiled_model(recipe: Recipe, contract: Contract) -> Segmenter:
    """Return a new model with the recipe's network, loss and optimiser.

    Raises:
        InputError: the network's options contradict each other.
    """
    labels = contract.label_map
    classes, channels = labels.num_classes, len(contract.channels)
    try:
        network = build_network(recipe.network.preset, classes, channels, **recipe.network.overrides())
    except ValueError as error:
        raise InputError(f"section 'network' of the recipe: {error}") from None
    loss = SegmentationLoss(**recipe.loss.model_dump())
    model = Segmenter(network, loss, labels.names[1:], deep_supervision=recipe.train.deep_supervision)
    model.compile(build_optimizer(recipe.train))
    return model


def _early_stop(patience: int, best_dice: float) -> list[keras.callbacks.Callback]:
    if not patience:
        return []
    return [keras.callbacks.EarlyStopping("val_dice", mode="max", patience=patience, baseline=best_dice)]
