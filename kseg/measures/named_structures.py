"""Names of the label values of masks, as a user gives them: one by one, or by a run that has them."""

from collections.abc import Sequence

from kseg.console.errors import InputError
from kseg.runs.trained_run import open_trained
from kseg.volumes.labels import BACKGROUND


def named_structures(labels: Sequence[str], run: str | None) -> tuple[dict[str, tuple[int, ...]], int]:
    """Return structures with their label values, none where nobody says them, and the background's value.

    Args:
        labels: words as "soleus=100", or "tumour=1+2" of several values; "background=9" names what is no structure.
        run: name, folder or package of a run whose structures they are.

    Raises:
        InputError: both are given; a word is none of these; a name stands twice; or there is no such run.

    Example:
        >>> from kseg.measures.named_structures import named_structures
        >>> named_structures(["soleus=100", "tumour=1+2"], None)
        ({'soleus': (100,), 'tumour': (1, 2)}, 0)
    """
    if run and labels:
        raise InputError("--labels and --run both name the values: leave one of them out")
    if run:
        label_map = open_trained(run).description.label_map
        return label_map.structure_values, label_map.values[0]
    structures: dict[str, tuple[int, ...]] = {}
    for word in labels:
        name, _, values = word.rpartition("=")
        try:
            own = tuple(dict.fromkeys(int(value) for value in values.split("+")))
        except ValueError:
            own = ()
        if not name.strip() or not own:
            raise InputError(f"--labels: '{word}' is no NAME=VALUE, such as soleus=100, or tumour=1+2 of two values")
        if name in structures:
            raise InputError(f"--labels: '{name}' stands twice: name it once, with its values as {name}=1+2")
        structures[name] = own
    of_background = [name for name in structures if name.lower() == BACKGROUND]
    none = [value for name in of_background for value in structures.pop(name)]
    return structures, none[0] if none else 0
