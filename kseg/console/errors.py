"""The exceptions whose message is all that a person needs."""


class InputError(ValueError):
    """Bad input: a recipe, a volume, a shard, a model or an argument that kseg cannot use.

    The message is one line that says what is wrong, where (case, file, recipe key), and the remedy.
    Commands print it and exit with status 2; in a Python program it is a `ValueError`.

    Example:
        >>> import kseg
        >>> try:
        ...     kseg.load_recipe(None, ["train.epochs=0"])
        ... except kseg.InputError as error:
        ...     print(error)
        on the command line: 'train.epochs': it must be a whole number above 0. Received 0
    """


class MachineError(RuntimeError):
    """What a machine, a network or another process did to a command, and no mistake of its user's.

    The message is one line that says what, where, and how to go on. Commands print it and exit with status 1.
    """
