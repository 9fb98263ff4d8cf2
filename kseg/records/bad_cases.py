"""The bad cases of a source: all are told, each in one line, and then left out or refused together."""

from collections.abc import Collection

from kseg.console.errors import InputError
from kseg.console.messages import say
from kseg.records.scans import ScanList
from kseg.records.write_case import Outcome
from kseg.volumes.labels import MAX_VALUES, labels_to_paste, labels_with


class BadCases:
    """Takes the bad cases among the scans that are found, as they come.

    Args:
        found: all scans of the source.
        skip: whether bad ones are left out.
    """

    def __init__(self, found: ScanList, skip: bool) -> None:
        self._found, self._skip, self._bad = found, skip, list[Outcome]()

    def add(self, bad: Outcome) -> None:
        """Tell a bad case; one that is refused only once there is another, since it may be the refusal itself."""
        self._bad.append(bad)
        number = len(self._bad)
        if self._skip:
            say(f"left out {bad.case}: {bad.reason}")
        elif number > 1:
            for one in self._bad if number == 2 else (bad,):
                say(f"bad case {one.case}: {one.reason}")

    def end(self) -> None:
        """Say what is to be done about the cases.

        Raises:
            InputError: there are some, and they are not left out.
        """
        names = self._names({value for bad in self._bad for value in bad.unknown_values})
        if self._skip:
            if names:
                say(f"note: {names}")
        elif self._bad:
            alone, of_all = len(self._bad) == 1, len(self._found.scans)
            several = f"{len(self._bad)} of {of_all} cases are bad, listed above: correct them"
            what = self._bad[0].reason.rstrip(".") if alone else several
            skip = f"or leave {'the case' if alone else 'them'} out with --skip-bad" if len(self._bad) < of_all else ""
            raise InputError("; ".join(filter(None, [what, names, skip])))

    def _names(self, values: Collection[float]) -> str:
        """How all values of all label maps are named, where some are of no class; none beside regions."""
        whole = {int(value) for value in values if abs(value) < 2**63 and value == int(value)}
        if not whole or len(whole) > MAX_VALUES or self._found.labels.regions:
            return ""
        labels = labels_with(dict(self._found.labels_of_files.in_files), whole)
        return f"to name all values: {labels_to_paste(labels)}"
