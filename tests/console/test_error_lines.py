"""What libraries say, as one line: of pydantic the key and why, of others the first line or the exception's type."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from kseg.console.text import first_line
from kseg.console.validation_errors import first_invalid, invalid_entries


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: tuple[int, int]

    @field_validator("size")
    @classmethod
    def _square(cls, size: tuple[int, int]) -> tuple[int, int]:
        if size[0] != size[1]:
            raise ValueError("must be square")
        return size


class Outer(BaseModel):
    inner: Inner
    name: str


def refused(content: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(content)
    return caught.value


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"inner": {"size": [1, 2]}, "name": "a"}', "inner.size: must be square"),
        ('{"inner": {"size": [1, "x"]}, "name": "a"}', "inner.size.1: Input should be a valid integer"),
        ('{"inner": {"size": [1, 1], "shape": 3}, "name": "a"}', "inner.shape: Extra inputs are not permitted"),
        ('{"inner": {"size": [1, 1]}}', "name: Field required"),
        ("", "Invalid JSON: EOF while parsing a value"),
        ("[]", "Input should be an object"),
    ],
)
def test_the_first_entry_is_named_by_its_key(content: str, line: str) -> None:
    said = str(first_invalid(refused(content)))
    assert said.startswith(line)
    assert "\n" not in said


def test_all_entries_come_with_what_was_received() -> None:
    entries = invalid_entries(refused('{"inner": {"size": [1, 2], "other": 5}, "name": 7}'))
    assert [(entry.key, entry.kind, entry.received) for entry in entries] == [
        ("inner.size", "value_error", [1, 2]),
        ("inner.other", "extra_forbidden", 5),
        ("name", "string_type", 7),
    ]


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \ntwo"), "one "),
        (MemoryError(), "MemoryError"),
        (OSError(""), "OSError"),
        ("E1: no GPU\nE2", "E1: no GPU"),
    ],
)
def test_the_first_line_of_what_a_library_says(said: BaseException | str, line: str) -> None:
    assert first_line(said) == line
