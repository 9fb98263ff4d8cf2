"""The one exception that kseg raises for a mistake its user can mend."""


class InputError(ValueError):
    """Bad input: a recipe, a volume, a shard, a model or an argument that kseg cannot use.

    The message is one line that says what is wrong, where (case, file, recipe key), and the remedy.
    Commands print it and exit with status 2; in a Python program it is a `ValueError`.
    """
