"""Files of tests: pytest imports each by its bare name, so that two of one name cannot run in one process."""

from collections import Counter
from pathlib import Path


def test_no_two_files_of_tests_share_a_name() -> None:
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []
