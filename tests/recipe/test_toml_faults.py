"""What is wrong with a recipe's TOML is said with its line, and what helps."""

import sys
from pathlib import Path

import pytest

from kseg.console.errors import InputError
from kseg.recipe.load import load_recipe
from kseg.recipe.toml_faults import toml_fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


NO_HINT = ""


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("name = leg", "put text in quotes"),
        ("name = 3d_leg", "put text in quotes"),
        ("name = 007leg", "put text in quotes"),
        ("source = ~/scans/leg.csv # mine", "put text in quotes"),
        ("source = scans/leg.csv # für „Eva“", "put text in quotes"),
        ("name = \u201cleg\u201d", "take straight quotes, \" or '"),
        (r'source = "C:\Users\eva"', "in a path write / instead of \\, or put it between single quotes"),
        (r'source = "C:\data"', "in a path write / instead of \\, or put it between single quotes"),
        ('name = "leg', "close the quote"),
        ("deterministic = True", "write true or false"),
        ("seed = None", "leave the line out: what a recipe does not say is chosen"),
        ("max_minutes: 10", "write = between a key and its value"),
        ("max_minutes = 10 min", "write the number alone, without its unit"),
        ("learning_rate = 0,001", "write numbers with a point, and several between brackets"),
        ("learning_rate = .001", "write a digit before the point"),
        ("seed = 007", "write numbers without zeros before them"),
        ("left leg = 1", "put a name with spaces in quotes"),
        ("Wadenmuskel_ä = 1", "put a name with signs beyond a-z, 0-9, _ and - in quotes"),
        ("learning_rate = 1e-3,", NO_HINT),
        ("learning_rate = 1e-3 2", NO_HINT),
        ("deterministic = true,", NO_HINT),
        ("epochs 50 # a = b", NO_HINT),
        ("epochs += 5", NO_HINT),
        ("; comment = 5", NO_HINT),
    ],
)
def test_a_line_and_what_helps(line: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "leg.toml"
    path.write_text(f"seed = 1 # \u2028 of what\n[data.labels]\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_recipe(path)
    told = str(error.value).partition(f"'{path}' is not valid TOML: line 3, `{line}`: ")[2]
    assert told.startswith(f"{hint} (") if hint else "(" not in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\na = 2\n", "line 2, `a = 2`: Cannot overwrite a value: a key may stand once in a table"),
        ("a = 1\na = true\n", "line 2, `a = true`: Cannot overwrite a value: a key may stand once in a table"),
        ("a = 1\na = 2", "a key may stand once in a table"),
        ("a = [1, 2", "Unclosed array (seen at the end of the file)"),
        ("a = [1, 2\nb = true\n", "line 2, `b = true`: Unclosed array"),
        ("[a\nb = 1", "line 1, `[a`: Expected"),
        ("[a]\n[a]\n", "line 2, `[a]`: Cannot declare"),
    ],
)
def test_what_has_no_hint_is_as_the_parser_says(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"\(at ") as error:
        tomllib.loads(text)
    assert said in toml_fault(text, error.value)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "leg.toml"
    path.write_text('name = "leg"\n', encoding="utf-8-sig")
    assert load_recipe(path).name == "leg"
