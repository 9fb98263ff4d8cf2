"""Keras' optimisers as a recipe asks for them."""

import keras

from kseg.recipe.sections import Train


def build_optimizer(options: Train) -> keras.Optimizer:
    """Return the optimiser of a new run; `kseg.training.budget.Budget` sets its learning rate before each step."""
    common = {
        "learning_rate": options.learning_rate,
        "global_clipnorm": options.clip_norm or None,
        "use_ema": options.ema > 0,
        "ema_momentum": options.ema or 0.99,  # checked by Keras even where it is not used
    }
    if options.optimizer == "sgd":
        return keras.optimizers.SGD(momentum=0.9, nesterov=True, **common)
    if options.optimizer == "adamw":
        return keras.optimizers.AdamW(weight_decay=options.weight_decay, **common)
    return keras.optimizers.Adam(**common)
