"""In which precision a step computes."""


def choose_precision(precision: str) -> str:
    """Return the name of Keras' dtype policy for a recipe's `train.precision`.

    `"auto"` is `"mixed_bfloat16"` where that is known to be faster, else `"float32"`. Weights, norms and soft sums
    are float32 in both.
    """
    from kseg.nn.cpu_features import bfloat16_is_faster

    if precision != "auto":
        return precision
    return "mixed_bfloat16" if bfloat16_is_faster() else "float32"
