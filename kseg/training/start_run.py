"""How a run begins, or goes on: its model, its folder, and where it stands."""

import keras
import tensorflow as tf

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.nn.cpu_features import choose_precision
from kseg.nn.networks import build_network, trainable_parameters
from kseg.nn.segmentation_loss import SegmentationLoss
from kseg.nn.segmenter import Segmenter
from kseg.recipe.augmentation import PROBABILITIES
from kseg.recipe.load import dump_recipe
from kseg.recipe.sections import TERMS, Recipe
from kseg.runs.data_description import DataDescription
from kseg.runs.history import cut_history
from kseg.runs.owned_files import FOLDS, RUN
from kseg.runs.run import Run
from kseg.runs.run_folder import RunFolder, open_run
from kseg.storage.files import whole_folder
from kseg.training.checkpoints import State, load_checkpoint, random_seeds, values_of, write_checkpoint
from kseg.training.huge_pages import use_huge_pages
from kseg.training.optimizer import build_optimizer
from kseg.training.start_weights import freeze, take_weights
from kseg.training.workers import Workers


def start_run(run: Run, resume: bool, workers: Workers) -> tuple[Segmenter, State]:
    """Return the model that is trained, and where its run stands.

    The folder of a new run appears whole, with a checkpoint: it can be resumed from then on. It replaces what is
    there.

    Raises:
        InputError: no checkpoint is sound, the network's options contradict each other, the batch cannot be shared by
            the devices, or the workers do not begin alike.
    """
    recipe, folder, description = run.recipe, run.folder, run.description
    workers.check_shared(recipe)
    use_huge_pages()
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(choose_precision(recipe.train.precision))
    if recipe.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    with workers.strategy.scope():
        if resume:
            model, state = load_checkpoint(folder, description)
        else:
            model = compiled_model(recipe, description, run.manifest.partly_labelled)
            if recipe.train.start_from:
                source = open_run(recipe.train.start_from)
                taken, told = take_weights(model, description, source, recipe.train.start_from)
                freeze(model, recipe.train.frozen, taken)
                if workers.is_chief:
                    say(told)
            model.optimizer.build(model.trainable_variables)
            state = State(seeds=values_of(random_seeds(model)))
    workers.check_alike(f"{dump_recipe(recipe)}\n{description}\n{state}")
    if workers.is_chief and resume:
        cut_history(folder.history, state.epochs_done)
    elif workers.is_chief:
        with whole_folder(folder.path, RUN, FOLDS) as path:
            RunFolder(path).create(dump_recipe(recipe), description)
            write_checkpoint(RunFolder(path), model, state)
    return model, state


def compiled_model(recipe: Recipe, description: DataDescription, partly_labelled: bool = False) -> Segmenter:
    """Return a new model with the recipe's network, loss and optimiser.

    Where cases are `partly_labelled` loss and scores leave out the voxels that nobody labelled, which takes longer.

    Raises:
        InputError: the network's options contradict each other.
    """
    labels, channels = description.label_map, len(description.channels)
    structures = labels.structures
    options = recipe.network.overrides() | {"overlap": structures.overlap}
    try:
        network = build_network(recipe.network.preset, structures.num_maps, channels, **options)
    except ValueError as error:
        raise InputError(f"section 'network' of the recipe: {error}") from None
    regions = structures.regions
    loss = SegmentationLoss(**recipe.loss.model_dump(), partly_labelled=partly_labelled, regions=regions)
    model = Segmenter(network, loss, labels.structure_names, deep_supervision=recipe.train.deep_supervision)
    model.compile(build_optimizer(recipe.train))
    return model


def tell_start(recipe: Recipe, model: Segmenter, state: State, workers: Workers) -> None:
    """Say what is trained from where, on which devices, and how they share a step's work."""
    size, batch = recipe.patches.size, recipe.patches.batch_size
    precision = model.network.get_layer("output").dtype_policy.name
    within = f", step {state.steps_done + 1}" if state.steps_done else ""
    say(
        f"{model.network.name}: {trainable_parameters(model.network):,} parameters, {precision} "
        f"on {workers.replicas} device(s), patches {size} x {batch}; from epoch {state.epochs_done + 1}{within}"
    )
    say(_choices(recipe))
    if workers.replicas == 1:
        return
    own = batch // workers.count
    say(
        f"worker {workers.index + 1} of {workers.count}: a step takes {batch} patches = {workers.count} worker(s) x "
        f"{workers.devices} device(s) x {batch // workers.replicas}; this worker cuts number {workers.index * own + 1} "
        f"to {(workers.index + 1) * own} of them and reads no others"
    )
    say(
        f"the learning rate {recipe.train.learning_rate:g} goes with the step's {batch} patches, as in the recipe: "
        "it is not scaled with the number of workers"
    )


def _choices(recipe: Recipe) -> str:
    """What else was chosen, by the recipe or for it: one line."""
    loss, transforms = recipe.loss.model_dump(include=set(TERMS)), recipe.augmentation.model_dump()
    terms = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in loss.items() if weight)
    changes = ", ".join(f"{name} {transforms[name]:g}" for name in PROBABILITIES if transforms[name])
    axes = ", ".join(recipe.patches.flip_axes)
    return (
        f"loss {terms}; {recipe.train.optimizer} at {recipe.train.learning_rate:g}; flips: {axes or 'none'}; "
        f"augmentation: {changes or 'none'}"
    )
