"""Every mistake in a method's options, and the one line that answers it."""

import pytest
import torch

from railkd.errors import UserError
from railkd.method_facts import facts
from railkd.method_sources import available, source_files
from railkd.methods import build

ELSEWHERE = "is out of range, expected a number"
MISTAKES = [
    # unknown names
    ("rail_kd_l", {"raill_weight": 1}, "methods.rail_kd_l: unknown option 'raill_weight'; did you mean 'rail_weight'?"),
    ("rail_kd_c", {"layer_weights": [1.0]}, "methods.rail_kd_c: unknown option 'layer_weights'"),
    ("pkd", {"mappings": "skip"}, "methods.pkd: unknown option 'mappings'; did you mean 'mapping'?"),
    ("vanilla_kd", {"tau": 2}, "methods.vanilla_kd: unknown option 'tau'; available: alpha, temperature"),
    ("no_kd", {"alpha": 0.5}, "methods.no_kd: unknown option 'alpha'; available: none"),
    # wrong types and names of choices
    ("vanilla_kd", {"alpha": "half"}, "methods.vanilla_kd.alpha: 'half' is not valid, expected number"),
    ("vanilla_kd", {"alpha": True}, "methods.vanilla_kd.alpha: True is not valid, expected number"),
    ("pkd", {"mapping": "first"}, "methods.pkd.mapping: 'first' is not valid, expected skip | last or list of integer"),
    ("pkd", {"mapping": [2, 4.5, 6, 8, 10]}, "methods.pkd.mapping: [2, 4.5, 6, 8, 10] is not valid"),
    ("pkd", {"reduction": "mean"}, "methods.pkd.reduction: 'mean' is not valid, expected source | sum"),
    ("ckd", {"variant": "crossed"}, "methods.ckd.variant: 'crossed' is not valid, expected regular | overlap | skip"),
    ("alp_kd", {"scale": "on"}, "methods.alp_kd.scale: 'on' is not valid, expected none | sqrt"),
    ("codir", {"pooling": "max"}, "methods.codir.pooling: 'max' is not valid, expected mean | cls"),
    ("codir", {"negatives": 1.5}, "methods.codir.negatives: 1.5 is not valid, expected integer"),
    ("rail_kd_l", {"mapping": "fixed"}, "methods.rail_kd_l.mapping: 'fixed' is not valid, expected random_sorted |"),
    ("rail_kd_l", {"projection": "frozen"}, "methods.rail_kd_l.projection: 'frozen' is not valid, expected learned |"),
    (
        "rail_kd_c",
        {"pooling": "max"},
        "methods.rail_kd_c.pooling: 'max' is not valid, expected mean | cls",
    ),
    ("rail_kd_l", {"layer_weights": 1.0}, "methods.rail_kd_l.layer_weights: 1.0 is not valid"),
    # numbers out of range
    ("vanilla_kd", {"alpha": 1.5}, f"methods.vanilla_kd.alpha: 1.5 {ELSEWHERE} at least 0 and at most 1"),
    ("vanilla_kd", {"temperature": 0}, f"methods.vanilla_kd.temperature: 0 {ELSEWHERE} above 0"),
    ("vanilla_kd", {"alpha": float("nan")}, f"methods.vanilla_kd.alpha: nan {ELSEWHERE} at least 0"),
    ("pkd", {"alpha": -0.1}, f"methods.pkd.alpha: -0.1 {ELSEWHERE}"),
    ("pkd", {"temperature": -1}, f"methods.pkd.temperature: -1 {ELSEWHERE} above 0"),
    ("pkd", {"beta": -1}, f"methods.pkd.beta: -1 {ELSEWHERE} at least 0"),
    ("codir", {"alpha": 2}, f"methods.codir.alpha: 2 {ELSEWHERE}"),
    ("codir", {"temperature": 0}, f"methods.codir.temperature: 0 {ELSEWHERE} above 0"),
    ("codir", {"beta": -1}, f"methods.codir.beta: -1 {ELSEWHERE}"),
    ("codir", {"negatives": 0}, f"methods.codir.negatives: 0 {ELSEWHERE} at least 1"),
    ("codir", {"nce_temperature": 0.0}, f"methods.codir.nce_temperature: 0.0 {ELSEWHERE} above 0"),
    ("codir", {"momentum": 1.1}, f"methods.codir.momentum: 1.1 {ELSEWHERE} at least 0 and at most 1"),
    ("codir", {"projection_dim": 0}, f"methods.codir.projection_dim: 0 {ELSEWHERE} at least 1"),
    *(
        (name, {key: -0.5}, f"methods.{name}.{key}: -0.5 {ELSEWHERE} at least 0")
        for name, own in {"ckd": "ckd", "alp_kd": "alp", "rail_kd_l": "rail", "rail_kd_c": "rail"}.items()
        for key in ("ce_weight", "kd_weight", f"{own}_weight")
    ),
    *(
        (name, {"temperature": 0}, f"methods.{name}.temperature: 0 {ELSEWHERE} above 0")
        for name in ("ckd", "alp_kd", "rail_kd_l", "rail_kd_c")
    ),
    *(
        (name, {"projection_dim": 0}, f"methods.{name}.projection_dim: 0 {ELSEWHERE} at least 1")
        for name in ("alp_kd", "rail_kd_l", "rail_kd_c")
    ),
    ("rail_kd_l", {"layer_weights": [1, 1, 1, 1, -1]}, f"methods.rail_kd_l.layer_weights: -1 {ELSEWHERE} at least 0"),
    ("rail_kd_l", {"layer_weights": [1, 1]}, "methods.rail_kd_l.layer_weights: [1, 1] has 2 weights, expected 5"),
    # layers that are not there: 12 → 6, so five of 1..11
    *(
        (name, {"mapping": mapping}, f"methods.{name}.mapping: {message}")
        for name in ("pkd", "codir", "rail_kd_l", "rail_kd_c")
        for mapping, message in (
            ([2, 4, 6, 8, 12], "the teacher has no intermediate layer 12 (it has 12 layers: expected 1 to 11)"),
            ([0, 4, 6, 8, 10], "the teacher has no intermediate layer 0 (it has 12 layers: expected 1 to 11)"),
            ([2, 4, 6], "[2, 4, 6] names 3 teacher layers; this student needs 5"),
        )
    ),
    ("rail_kd_c", {"projection": "none"}, "methods.rail_kd_c.projection: none needs equal widths, the teacher has 10"),
]


@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_mistakes_are_named(make_setting, name, options, message):
    with pytest.raises(UserError) as caught:
        build(name, make_setting(), options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


SHALLOW = [
    ({"teacher": 4}, "rail_kd_l", {}, "mapping: random_sorted draws 5 different teacher layers, this teacher has 3"),
    ({"teacher": 4}, "rail_kd_c", {"mapping": "last"}, "mapping: [1, 2, 3] names 3 teacher layers; this student needs"),
    ({"teacher": 4}, "pkd", {"mapping": "last"}, "mapping: [1, 2, 3] names 3 teacher layers; this student needs 5"),
    ({"teacher": 4}, "ckd", {}, "variant: 5 buckets need at least 5 intermediate teacher layers, this teacher has 3"),
    *(
        ({"student": 1}, name, {}, f"{key}: a student of 1 layer has no intermediate layer, expected at least 2 layers")
        for name, key in {
            "pkd": "mapping", "ckd": "variant", "alp_kd": "alp_weight", "codir": "mapping", "rail_kd_l": "mapping",
        }.items()
    ),
    ({"teacher": 1}, "rail_kd_c", {"mapping": "skip"}, "mapping: a teacher of 1 layer has no intermediate layer"),
]  # fmt: skip


@pytest.mark.parametrize(("models", "name", "options", "message"), SHALLOW)
def test_models_too_shallow_for_a_method(make_setting, models, name, options, message):
    with pytest.raises(UserError) as caught:
        build(name, make_setting(**models), options)
    assert str(caught.value).startswith(f"methods.{name}.{message}")


def test_a_pooling_needs_an_intermediate_layer_of_the_teacher(make_setting, tmp_path):
    """Of a user's method that checks nothing by itself: known before any signal is computed."""
    body = "from railkd.methods.vanilla_kd import VanillaKD\n\n\nclass Mine(VanillaKD):\n"
    (tmp_path / "mine.py").write_text(f'{body}    pooling = "cls"\n')
    with pytest.raises(UserError, match=r"mine.py: a teacher of 1 layer has no intermediate layer, whose vectors the"):
        build(f"{tmp_path / 'mine.py'}", make_setting(teacher=1), {})
    (tmp_path / "live.py").write_text(f'{body}    pooling = "cls"\n    needs_live_teacher = True\n')
    for name in (f"{tmp_path / 'live.py'}", "vanilla_kd", "no_kd"):
        build(name, make_setting(teacher=1), {})


OWN = """import torch
from railkd.methods.vanilla_kd import VanillaKD


class Mine(VanillaKD):
    def __init__(
        self, setting, sizes: tuple[int, int] = (16, 16), layers: tuple[int, ...] | None = None, any_of: tuple = ()
    ):
        super().__init__(setting)
        self.given = sizes, layers, any_of
"""


def test_a_list_of_the_file_is_a_tuple_where_the_class_takes_one(make_setting, tmp_path):
    name = str(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(OWN)
    assert build(name, make_setting(), {}).given == ((16, 16), None, ())
    options = {"sizes": [8, 4], "layers": [1, 2, 3], "any_of": ["a", 1]}
    assert build(name, make_setting(), options).given == ((8, 4), (1, 2, 3), ("a", 1))
    assert facts(name).defaults == {"sizes": [16, 16], "layers": None, "any_of": []}
    for options, message in (
        ({"sizes": [8]}, "sizes: [8] is not valid, expected list of 2 values (integer, integer)"),
        ({"sizes": [8, 1.5]}, "sizes: [8, 1.5] is not valid, expected list of 2 values (integer, integer)"),
        ({"sizes": 8}, "sizes: 8 is not valid, expected list of 2 values (integer, integer)"),
        ({"layers": ["a"]}, "layers: ['a'] is not valid, expected list of integer or null"),
        ({"any_of": "a"}, "any_of: 'a' is not valid, expected list"),
    ):
        with pytest.raises(UserError) as caught:
            build(name, make_setting(), options)
        assert str(caught.value) == f"methods.{name}.{message}"


@pytest.mark.parametrize("key", ["title", "vary"])
def test_an_option_has_another_name_than_a_key_of_every_entry(make_setting, tmp_path, key):
    (tmp_path / "mine.py").write_text(OWN.replace("sizes: tuple[int, int] = (16, 16)", f"{key}: str = '', sizes=0"))
    with pytest.raises(UserError, match=rf"mine.py:5: Mine has an option '{key}', which in a benchmark file is a key"):
        build(str(tmp_path / "mine.py"), make_setting(), {})


def test_codir_needs_classes(make_setting):
    with pytest.raises(UserError, match=r"^methods.codir.negatives: .* undefined for regression"):
        build("codir", make_setting(outputs=1), {})
    with pytest.raises(UserError, match=r"^methods.codir.negatives: all training examples have one label"):
        build("codir", make_setting(labels=torch.zeros(5, dtype=torch.long)), {})


def test_defaults_are_the_published_ones(make_setting):
    third = pytest.approx(1 / 3)
    setting = make_setting(labels=torch.tensor([0, 1, 2]))
    weights = {
        "no_kd": {"ce": 1},
        "vanilla_kd": {"ce": 0.5, "kd": 0.5},
        "pkd": {"ce": 0.5, "kd": 0.5, "pt": 100},
        "ckd": {"ce": third, "kd": third, "ckd": third},
        "alp_kd": {"ce": 0.1, "kd": 0.7, "alp": 0.2},
        "codir": {"ce": 0.5, "kd": 0.5, "nce": 1},
        "rail_kd_l": {"ce": third, "kd": third, "rail": third},
        "rail_kd_c": {"ce": third, "kd": third, "rail": third},
        "mixkd": {"ce": 1, "ce_mixed": 1, "kd_mixed": 1},
        "minilm_v2": {"ce": third, "kd": third, "relation": third},
        "distilbert_cos": {"ce": 0.25, "kd": 0.625, "cos": 0.125},
        "tinybert": {"hidden": 1, "attention": 1},  # of the first stage
        "cr_ild": {"ild": 1, "mixed": 1, "consistency": 0.1},
    }
    assert set(weights) == set(available())
    methods = {name: build(name, setting, {}) for name in weights}
    assert {name: method.weights for name, method in methods.items()} == weights
    second = {name: methods[name].second_weights for name in ("tinybert", "cr_ild")}
    assert second == dict.fromkeys(second, {"ce": 0, "kd": 1})
    rail, codir = methods["rail_kd_l"], methods["codir"]
    assert rail.mapping == "random_sorted" and rail.teacher_map.weight.shape == (5, 10, 128)
    assert methods["rail_kd_c"].student_map.weight.shape == (1, 40, 128)
    assert codir.negatives == 100 and codir.bank.shape == (3, 128) and codir.layers == [2, 4, 6, 8, 10]
    assert codir.nce_temperature == 0.07 and codir.momentum == 0.5


def test_the_two_forms_of_rail_kd_have_the_same_options() -> None:
    layerwise, concatenated = (facts(f"rail_kd_{form}").defaults for form in ("l", "c"))
    assert layerwise == {**concatenated, "layer_weights": None} and len(concatenated) == 9


def test_a_run_depends_on_the_shared_code_of_its_method_and_on_no_other() -> None:
    names = {name: {path.name for path in source_files(name)} for name in ("no_kd", "pkd", "rail_kd_l")}
    assert names["no_kd"] == {"no_kd.py", "base.py"}
    assert "rail.py" not in names["pkd"]
    assert names["rail_kd_l"] >= {"rail_kd_l.py", "rail.py", "mapping.py", "projection.py", "base.py"}
