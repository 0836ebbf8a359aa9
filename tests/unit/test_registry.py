import pickle

import pytest

from harness import registry
from harness.errors import ConfigError, UnknownNameError


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'cat'"):
        registry.resolve("adversary", "catt")


def test_unknown_name_lists_known_names():
    with pytest.raises(UnknownNameError, match="constant, dual_axis"):
        registry.resolve("curriculum", "zzz")


def test_literal_target_is_resolved():
    assert registry.resolve("policy", "collections:OrderedDict").__name__ == "OrderedDict"


def test_broken_target_is_one_clear_error():
    with pytest.raises(ConfigError, match="cannot be loaded"):
        registry.resolve("policy", "no_such_module:Thing")


@pytest.mark.parametrize("kind", registry.BUILTIN)
def test_every_builtin_name_resolves(kind):
    for name in registry.BUILTIN[kind]:
        assert callable(registry.resolve(kind, name))


def test_a_third_party_may_not_take_a_builtin_name(monkeypatch):
    class Point:
        name, value = "cat", "theirs:Cat"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point])
    with pytest.raises(ConfigError, match="registered twice"):
        registry.targets("adversary")


def test_a_third_party_name_is_found(monkeypatch):
    class Point:
        name, value = "theirs", "collections:OrderedDict"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point])
    assert "theirs" in registry.names("adversary")


def test_the_error_crosses_process_borders():
    error = pickle.loads(pickle.dumps(UnknownNameError("adversary", "catt", ["cat"])))
    assert isinstance(error, UnknownNameError)
    assert "Did you mean 'cat'" in str(error)
