"""`python -m kseg.run`: the earlier name of `kseg.sweep`, which goes with the next release."""

from collections.abc import Sequence

from kseg import sweep
from kseg.console.command import run
from kseg.console.messages import say


def main(argv: Sequence[str] | None = None) -> None:
    """Say the new name and do what `kseg.sweep` does."""
    say("kseg.run is called kseg.sweep now; this name goes with the next release")
    sweep.main(argv)


if __name__ == "__main__":
    run(main)
