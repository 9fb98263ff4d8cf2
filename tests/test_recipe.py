"""The recipe: what is written is what is meant, and a slip is answered in one line."""

import re
from pathlib import Path
from typing import get_args

import pytest

from kseg import InputError
from kseg.nn.implementation_choice import IMPLEMENTATIONS
from kseg.nn.layers import NORMS
from kseg.nn.networks import SKIPS
from kseg.nn.parametric_tversky import Mode
from kseg.recipe.hyperparameters import hyperparameters
from kseg.recipe.keys import keys_help, recipe_keys
from kseg.recipe.load import dump_recipe, load_recipe, split_arguments
from kseg.recipe.presets import PRESETS
from kseg.recipe.sections import TERMS, Loss, Network, Recipe
from kseg.recipe.source_name import fit_name

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "pipelines").glob("*.toml"))


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_then_file_then_overrides(tmp_path):
    path = write(tmp_path, "name = 'legs'\n[train]\nepochs = 7\nlearning_rate = 0.5\n")
    recipe = load_recipe(path, ["train.epochs=9", "patches.size=[8, 16, 32]"])
    assert (recipe.name, recipe.train.epochs, recipe.train.learning_rate) == ("legs", 9, 0.5)
    assert recipe.patches.size == (8, 16, 32)
    assert recipe.loss == Recipe().loss


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.source=../scans", "../scans"),
        ('data.source="../scans"', "../scans"),
        ("data.source=a=b", "a=b"),
        ("data.source=C:\\scans", "C:\\scans"),
    ],
)
def test_quotes_around_a_string_may_be_left_out(override, value):
    assert load_recipe(None, [override]).data.source == value


def test_an_inline_table_names_labels():
    recipe = load_recipe(None, ["data.labels={background = 0, soleus = 100}", "data.labels.gl=200"])
    assert recipe.data.labels == {"background": 0, "soleus": 100, "gl": 200}


def test_a_table_given_anew_replaces_that_of_the_recipe(tmp_path):
    path = write(tmp_path, "[data]\nlabels = { background = 0, soleus = 100 }\nval_fraction = 0.2\n")
    assert load_recipe(path, ["data.labels={background = 0, tibia = 5}"]).data.labels == {"background": 0, "tibia": 5}
    assert load_recipe(path, ["data.labels={}"]).data.labels == {}
    assert load_recipe(path, ["data={test_fraction = 0.3}"]).data.val_fraction == 0.2


def test_a_term_of_the_loss_that_is_given_stands_alone():
    def terms(*words):
        loss = load_recipe(None, [f"loss.{word}" for word in words]).loss.model_dump(include=set(TERMS))
        return {term: weight for term, weight in loss.items() if weight}

    assert terms() == terms("alpha=0.3") == terms("parametric_tversky=0") == {"dice": 1.0, "cross_entropy": 1.0}
    assert terms("tversky=1", "alpha=0.3") == {"tversky": 1.0}
    assert terms("parametric_tversky=1", "cross_entropy=0.5") == {"parametric_tversky": 1.0, "cross_entropy": 0.5}
    assert terms("dice=0") == {"cross_entropy": 1.0}
    with pytest.raises(InputError, match="at least one term"):
        terms("dice=0", "cross_entropy=0")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("my legs/legs.csv", "legs"),
        ("legs/manifest.csv", "legs"),
        ("raw/Dataset004_Hip/dataset.json", "Dataset004_Hip"),
        ("raw/Dataset004_Hip", "Dataset004_Hip"),
        ("my legs/", "my_legs"),
        ("phantom", "phantom"),
    ],
)
def test_run_and_dataset_are_named_after_their_source(source, name):
    recipe = load_recipe(None, [f"data.source={source}"])
    assert (recipe.name, recipe.data.records) == (name, f"tfrecords/{name}")
    recipe = load_recipe(None, [f"data.source={source}", "name=mine", "data.records=there"])
    assert (recipe.name, recipe.data.records) == ("mine", "there")


@pytest.mark.parametrize("value", ["true", "1.5", "'one'"])
def test_a_label_s_value_is_an_integer(value):
    with pytest.raises(InputError, match=r"'data\.labels(\.a)?': it must .*(whole number|names first)"):
        load_recipe(None, [f"data.labels={{background = 0, a = {value}}}"])


def test_the_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = load_recipe(None, ["train.max_minutes=1.5", "network.filters=[2, 4]", "data.labels={a = 0, b = 3}"])
    assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation.overlap=2", "'evaluation.overlap': it must be a number from 0 to below 1. Received 2"),
        ("patches.size=96", "'patches.size': it must be three whole numbers above 0, as in [96, 96, 96]. Received 96"),
        ("patches.size=[96, 96]", "'patches.size': it must be three whole numbers above 0, .* Received [96, 96]"),
        ("patches.size=[9, 0, 'a']", "'patches.size': it must be three whole numbers above 0, .* Received [9, 0, 'a']"),
        ("patches.batch_size=0", "'patches.batch_size': it must be a whole number above 0. Received 0"),
        ("patches.foreground_oversampling=2", "'patches.foreground_oversampling': it must be a number from 0 to 1. "),
        ("patches.flip_axes=[x]", "'patches.flip_axes': it must be a list of 'x', 'y' or 'z', .* Received '[x]'"),
        (
            "data.labels=x",
            "'data.labels': it must be a table of names, each with a whole number, as in {background = 0, ",
        ),
        ("data.labels={0 = 'background'}", "'data.labels': it must have the names first, .* {0 = 'background'}"),
        ("data.classes=soleus", "'data.classes': it must be a list of texts, as in ['soleus']. Received 'soleus'"),
        (
            "data.codes={liver=['10200004', 'SCT']}",
            "'data.codes.liver': it must be three texts, as in ['10200004', 'SCT', 'Liver']. Received ['1020",
        ),
        (
            "data.codes={liver=['10200004', 'SCT', 'a\\\\b']}",
            "'data.codes.liver': it must have a code's value, its scheme and its meaning, .* without backslashes",
        ),
        ("data.spacing_mm=[1, 1]", "'data.spacing_mm': it must have three numbers, one for each axis. Received [1, 1]"),
        ("data.memory_gb=0.5", "'data.memory_gb': it must be a number of 1 or more. Received 0.5"),
        (
            "data.normalisation=['hot']",
            "'data.normalisation': it must be a list of 'zscore', 'ct' or 'log', .* ['hot']",
        ),
        ("data.val_fraction=1", "'data.val_fraction': it must be a number from 0 to below 1. Received 1"),
        ("data.source=5", "'data.source': it must be a text. Received 5"),
        ("name=Müller 1", "'name': it must be letters (a to z), digits, '.', '_' and '-', .* Received 'Müller 1'"),
        ("data.lables={}", "'data.lables' is no key of a recipe: did you mean 'data.labels'?"),
        ("train.max_minuts=3", "'train.max_minuts' is no key of a recipe: did you mean 'train.max_minutes'?"),
        ("trian.max_minuts=3", "'trian.max_minuts' is no key of a recipe: did you mean 'train.max_minutes'?"),
        ("max_minutes=3", "'max_minutes' is no key of a recipe: did you mean 'train.max_minutes'?"),
        ("train.spacing_mm=[]", "'train.spacing_mm' is no key of a recipe: did you mean 'data.spacing_mm'?"),
        ("wholly.unlike=3", "'wholly.unlike' is no key of a recipe: python -m kseg.train --help lists the keys"),
    ],
)
def test_a_mistake_in_a_change_is_not_looked_for_in_the_recipe(tmp_path, override, message):
    path = write(tmp_path, "name = 'legs'\n")
    pattern = ".*".join(map(re.escape, f"on the command line: {message}".split(".*")))
    with pytest.raises(InputError, match=f"^{pattern}"):
        load_recipe(path, [override, "train.epochs=9"])
    path.write_text("name = 'legs'\n[train]\nwarmup = 7\n", encoding="utf-8")
    for words in ([override], ["train.epochs=9"]):
        with pytest.raises(InputError, match=f"^recipe '{path}': .*'train.warmup'"):
            load_recipe(path, words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trian]\nmax_minutes = 3", "[trian] is no table of a recipe: did you mean [train]?"),
        ("[labels]\nsoleus = 100", "[labels] is no table of a recipe: did you mean [data.labels]?"),
        ("[optimiser]\nlearning_rate = 3", "[optimiser] is no table of a recipe: did you mean [train]?"),
        ("max_minutes = 3", "'max_minutes' is no key of a recipe: did you mean 'train.max_minutes'?"),
        ("[patches]\nsize = 96", "'patches.size': it must be three whole numbers above 0, as in [96, 96, 96]."),
        ("[train]\nepochs = 0\n[data]\nlabels = 1", "'data.labels': it must be a table of names, "),
    ],
)
def test_a_mistake_in_a_recipe_is_told_with_its_file(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=f"^recipe '{path}': .*{re.escape(message)}"):
        load_recipe(path)


def test_mistakes_are_told_where_they_were_made_and_of_a_section_where_it_was_changed(tmp_path):
    path = write(tmp_path, "seed = -1\n[data]\nval_fraction = 0.6\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path, ["train.epochs=0", "train.warmup=2"])
    assert str(caught.value) == (
        f"recipe '{path}': 'seed': it must be a whole number from 0 to below 4294967296. Received -1; on the command "
        "line: 'train.epochs': it must be a whole number above 0. Received 0; 'train.warmup': it must be a number from "
        "0 to below 1. Received 2"
    )
    path = write(tmp_path, "[data]\nval_fraction = 0.6\n")
    with pytest.raises(InputError, match=f"^recipe '{path}', as changed on the command line: 'data': val_fraction"):
        load_recipe(path, ["data.test_fraction=0.5"])


def test_no_message_has_a_pattern_or_a_type_of_python():
    for key, _, _ in recipe_keys():
        for wrong in ("{}", "[[[]]]", "'a b \\u00e4'", "-0.5"):
            try:
                load_recipe(None, [f"{key}={wrong}"])
            except InputError as error:
                assert not re.search(r"\^|tuple|dict|None|str\b|[Ii]nput should", str(error)), error


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_valid_and_say_what_they_are(path):
    assert load_recipe(path).name == path.stem
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert head.startswith("# ")
    assert "Dice" in head
    assert "minutes" in head or "hours" in head


def test_rates_are_numbers_or_lists_per_level(tmp_path):
    for text, rates in (("[1, 2]", (1, 2)), ("[[1, 2], [1]]", ((1, 2), (1,)))):
        recipe = load_recipe(None, [f"network.dilation_rates={text}"])
        assert recipe.network.dilation_rates == rates
        assert load_recipe(write(tmp_path, dump_recipe(recipe))) == recipe
    with pytest.raises(InputError, match="dilation_rates"):
        load_recipe(None, ["network.dilation_rates=[[1, 0], [1]]"])


def test_only_keys_that_a_preset_leaves_open_reach_the_network():
    assert load_recipe(None).network.overrides() == {}
    assert load_recipe(None, ["network.skip=add"]).network.overrides() == {"skip": "add"}


def choices(section, key):
    named = get_args(section.model_fields[key].annotation)
    return named if isinstance(named[0], str) else get_args(named[0])  # of `Literal[...]`, or of `Literal[...] | None`


def test_what_may_be_chosen_is_what_the_network_and_the_loss_take():
    """The recipe and `kseg.nn` know nothing of each other."""
    assert choices(Network, "preset") == tuple(PRESETS)
    assert choices(Network, "skip") == SKIPS
    assert choices(Network, "norm") == NORMS
    assert choices(Network, "implementation") == IMPLEMENTATIONS
    assert choices(Loss, "mode") == get_args(Mode)


def test_help_and_the_page_of_the_recipe_list_every_key():
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    for key, default, text in recipe_keys():
        assert f"{key}={default}" in keys_help()
        assert f"| `{key}` | `{default}` | {text} |" in page, f"docs/recipe.md lacks or differs in {key}"


def test_hyperparameters_are_plain_and_of_one_type_in_each_column():
    left_open = hyperparameters(load_recipe(None, []))
    changes = ["network.skip=add", "network.share_kernel=false", "network.filters=[8, 16]", "patches.flip_axes=['x']"]
    given = hyperparameters(load_recipe(None, changes))
    assert [given[f"network.{key}"] for key in ("skip", "share_kernel", "filters")] == ["add", "false", "[8, 16]"]
    assert given["patches.flip_axes"] == "[x]"
    assert given["train.learning_rate"] == 1e-3
    assert left_open["network.skip"] == "preset"
    assert all(type(left_open[key]) is type(given[key]) for key in given)


def test_arguments_are_sorted_into_recipe_and_overrides():
    assert split_arguments(["a.toml", "train.epochs=3"]) == (Path("a.toml"), ["train.epochs=3"])
    assert split_arguments(["x=1"]) == (None, ["x=1"])
    with pytest.raises(InputError, match=r"one recipe at a time, .* with spaces or brackets in quotes"):
        split_arguments(["a.toml", "data.labels={background", "=", "0}"])


def test_a_path_is_no_override_though_it_has_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Path("my scans (2024)/Beinmuskeln=\u00e4")
    source.mkdir(parents=True)
    Path("seed=1").touch()
    long = f"data.labels={{{', '.join(f'class_{number} = {number}' for number in range(99))}}}"
    assert split_arguments([str(source), "seed=2", long]) == (source, ["seed=2", long])
    assert split_arguments(["seed=1", "train.epochs=3"]) == (Path("seed=1"), ["train.epochs=3"])
    assert split_arguments(["gone/a=b"]) == (Path("gone/a=b"), [])
    assert split_arguments(['data.labels."a b"=1', "data.source=a=b"])[0] is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("legs_2024.v1-", "legs_2024.v1-"),
        ("Beinmuskeln=\u00e4", "Beinmuskeln_a"),
        ("my scans (2024)", "my_scans_2024"),
        ("Stra\u00dfe \u00c5", "Strasse_A"),
        ("_hidden", "hidden"),
        ("\U0001f9b5", "dataset"),
        ("2024", "2024"),
    ],
)
def test_a_source_lends_its_name_as_far_as_a_run_may_have_it(text, name):
    assert fit_name(text) == name
    assert Recipe(name=fit_name(text)).name == name
