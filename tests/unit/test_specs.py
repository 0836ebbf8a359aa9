"""The grammar of names, and building from it."""

import pytest

from harness.errors import ConfigError, UnknownNameError
from harness.specs import build, parse


class Part:
    """What every kind of component can do."""

    def plan(self):
        raise NotImplementedError

    schedule = plan


class Gadget(Part):
    """Takes a file, an option, and what a command offers."""

    def __init__(self, prior=None, weights=None, protocol="corrected", size=1):
        self.prior, self.weights, self.protocol, self.size = prior, weights, protocol, size


class Steered(Part):
    def __init__(self, weights=None, prior=None, experts=None):
        self.experts, self.prior, self.weights = experts, prior, weights


class Open(Part):
    def __init__(self, weights=None, **options):
        self.weights, self.options = weights, options


class Switched(Part):
    """Has a switch that is off, and one that need not be set; its other options are its own to look at."""

    def __init__(self, shield=False, careful: bool | None = None, loud: "bool" = True, **options):
        self.shield, self.careful, self.loud, self.options = shield, careful, loud, options


class Bare(Part):
    """Takes nothing."""


OWN = f"{__name__}:Gadget"


@pytest.fixture
def registered(monkeypatch):
    """`gadget`, `steered`, `open` and `bare` are registered adversaries and traffic."""
    from harness import registry

    table = {name.lower(): f"{__name__}:{name}" for name in ("Gadget", "Steered", "Open", "Bare")}
    for kind in ("adversary", "traffic"):
        monkeypatch.setitem(registry.BUILTIN, kind, registry.BUILTIN[kind] | table)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("log", ("log", "", {}, None)),
        ("sage@0.5", ("sage", "", {}, 0.5)),
        ("sage@-1", ("sage", "", {}, -1.0)),
        ("td3:runs/a b/policy.zip", ("td3", "runs/a b/policy.zip", {}, None)),
        ("sage:EXPERTS?spacing=4@0.5", ("sage", "EXPERTS", {"spacing": 4}, 0.5)),
        ("sage?spacing=4&mixing=logits", ("sage", "", {"spacing": 4, "mixing": "logits"}, None)),
        ("my.module:Class?gain=2.5@1", ("my.module", "Class", {"gain": 2.5}, 1.0)),
        ("smart:a.st?rule=none&fast=true&text=", ("smart", "a.st", {"rule": None, "fast": True, "text": ""}, None)),
        # An @ within a file name is no intensity, unless a number follows it.
        ("sage:/data/me@host/experts", ("sage", "/data/me@host/experts", {}, None)),
        ("sage:/data/me@host/experts@0.25", ("sage", "/data/me@host/experts", {}, 0.25)),
        ("smart:weights@2?", ("smart", "weights@2", {}, None)),
    ],
)
def test_parts(text, parts):
    spec = parse(text)
    assert (spec.name, spec.file, dict(spec.options), spec.intensity) == parts
    assert spec.text == text
    assert spec.head == (f"{parts[0]}:{parts[1]}" if parts[1] else parts[0])


@pytest.mark.parametrize("text", ["sage@high", "sage@", "sage@inf", "sage@nan", "sage@0.5?spacing=4"])
def test_an_intensity_is_a_finite_number_at_the_end(text):
    with pytest.raises(ConfigError, match=r"finite number after @, such as sage@0\.5"):
        parse(text)


@pytest.mark.parametrize("text", ["sage?spacing=4&spacing=5", "sage?=4"])
def test_every_option_has_one_name(text):
    with pytest.raises(ConfigError, match="every key once"):
        parse(text)


def test_the_file_goes_where_the_component_takes_it(registered):
    assert build("adversary", "gadget:a.st").prior == "a.st"
    steered = build("adversary", "steered:folder", prior="other")
    assert (steered.experts, steered.prior, steered.weights) == ("folder", "other", None)
    assert build("traffic", "open:a.st?anything=1").options == {"anything": 1}
    with pytest.raises(ConfigError, match=r"'bare:a.st': 'bare' reads no file"):
        build("adversary", "bare:a.st")
    with pytest.raises(ConfigError, match="given twice"):
        build("adversary", "gadget:a.st?prior=b.st")


def test_offered_options_are_passed_where_they_are_understood_and_own_ones_must_be(registered):
    made = build("adversary", "gadget?size=3", protocol="as-published", prior=None, elsewhere=5, size=2)
    assert (made.protocol, made.prior, made.size) == ("as-published", None, 3)
    assert isinstance(build("adversary", "bare", protocol="corrected"), Bare)
    assert build("adversary", f"{OWN}?size=7").size == 7
    with pytest.raises(ConfigError, match=r"no option 'colour'; it has prior, weights, protocol, size.*sage:EXPERTS"):
        build("adversary", "gadget?colour=1")
    with pytest.raises(ConfigError, match="no option 'weights'; it has none"):
        build("traffic", "bare?weights=1")


@pytest.mark.parametrize("option", ["shield=no", "shield=0", "shield=1", "shield=none", "loud=off"])
def test_a_switch_is_on_or_off(option):
    name, _, word = option.partition("=")
    with pytest.raises(ConfigError, match=rf"'{__name__}:Switched\?{option}': {name} is .*, expected true or false"):
        build("traffic", f"{__name__}:Switched?{option}")
    for value in (True, False):
        made = build("traffic", f"{__name__}:Switched?{name}={str(value).lower()}&other={word}")
        assert getattr(made, name) is value
    assert build("traffic", f"{__name__}:Switched?careful=none").careful is None


def test_the_protocol_is_that_of_the_run(registered):
    with pytest.raises(ConfigError, match="--protocol"):
        build("adversary", "gadget?protocol=as-published", protocol="corrected")


def test_only_adversaries_have_an_intensity(registered):
    assert isinstance(build("adversary", "gadget@0.5"), Gadget)
    with pytest.raises(ConfigError, match="only adversaries"):
        build("traffic", "gadget@0.5")


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="Did you mean 'smart'"):
        build("traffic", "smrt")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        build("backbone", "no.such:Thing")


def test_the_shipped_adversaries_take_options(registered):
    assert build("adversary", "king?restarts=2&iterations=3").name == "king"
    assert build("curriculum", "constant") is not None
