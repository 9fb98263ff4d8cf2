"""What a training waits for its input: the recipe's own network, fed by its own pipeline."""

import statistics

import keras

from kseg.console.terminal import progress
from kseg.nn.cpu_features import choose_precision
from kseg.patches.patch_source import PatchSource
from kseg.patches.stopwatch import Stopwatch
from kseg.recipe.sections import Recipe
from kseg.runs.data_description import DataDescription
from kseg.training.start_run import compiled_model
from kseg.training.step_times import StepTimes

STEPS = 4


def measure_waiting(
    recipe: Recipe, description: DataDescription, source: PatchSource, repeats: int
) -> dict[str, float]:
    """Return the seconds of a training step (`step_s`) and the share of it in which input is waited for (`input_wait`).

    Medians over `repeats` times 4 steps, after 4 in which the graph is compiled. Nothing is kept of what is learned.
    """
    keras.config.set_dtype_policy(choose_precision(recipe.train.precision))
    model = compiled_model(recipe, description, source.manifest.partly_labelled)
    stopwatch, bar = Stopwatch(), progress(range(repeats + 1), "training")
    next(bar)
    history = model.fit(
        stopwatch.watch(source.batches(range((repeats + 1) * STEPS))),
        steps_per_epoch=STEPS,
        epochs=repeats + 1,
        callbacks=[StepTimes(stopwatch), keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: next(bar, None))],
        shuffle=False,
        verbose=0,
    ).history
    keys = {"step_s": "step_seconds", "input_wait": "input_wait"}
    return {name: statistics.median(history[key][1:]) for name, key in keys.items()}
