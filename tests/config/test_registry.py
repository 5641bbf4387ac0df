import subprocess
import sys
import types

import pytest

from logclock.config import Registry, closest
from logclock.config.registry import suggestion


@pytest.fixture
def animals():
    registry = Registry("animal", tag="species")
    for name in ("horse", "house-cat", "dog"):
        registry.register(name)(type(name.title(), (), {}))
    return registry


def test_a_registered_class_is_found_by_name_and_named_by_class(animals):
    @animals.register("cow")
    class Cow:
        pass

    assert animals.get("cow") is Cow
    assert animals.name_of(Cow) == "cow"
    assert "cow" in animals
    assert Cow.__name__ == "Cow"


def test_names_come_sorted_and_their_number_is_known(animals):
    assert list(animals) == ["dog", "horse", "house-cat"]
    assert "bird" not in animals


def test_a_name_can_be_taken_once(animals):
    with pytest.raises(ValueError, match=r"animal 'dog' is registered already, as Dog\."):
        animals.register("dog")(type("Wolf", (), {}))

    assert animals.get("dog").__name__ == "Dog"


def test_an_unknown_name_lists_the_closest_and_all(animals):
    message = r"^unknown animal 'hors'\. Did you mean 'horse'\? Known: dog, horse, house-cat\.$"
    with pytest.raises(ValueError, match=message):
        animals.get("hors")


@pytest.mark.parametrize("name", ["xyzzy", 5, None, ["dog"], {"species": "dog"}])
def test_a_name_that_resembles_none_lists_all(animals, name):
    with pytest.raises(ValueError, match=r"^unknown animal .*\. Known: dog, horse, house-cat\.$"):
        animals.get(name)


def test_an_unregistered_class_has_no_name(animals):
    with pytest.raises(ValueError, match=r"int is not a registered animal\."):
        animals.name_of(int)


def test_a_subclass_does_not_inherit_the_name(animals):
    puppy = type("Puppy", (animals.get("dog"),), {})

    with pytest.raises(ValueError, match="Puppy is not a registered animal"):
        animals.name_of(puppy)


def test_closest_gives_at_most_three_best_first():
    assert closest("adanna", ["adamw", "adana", "sgd", "dana-star"])[0] == "adana"
    assert len(closest("aa", ["aaa", "aab", "aac", "aad"])) == 3
    assert closest("xyzzy", ["adamw", "adana"]) == []


def test_a_suggestion_is_a_sentence_or_nothing():
    assert suggestion("adanna", ["sgd", "adana"]) == " Did you mean 'adana'?"
    assert suggestion("xyzzy", ["sgd", "adana"]) == ""


def test_members_that_are_registered_elsewhere_are_found_when_they_are_asked_for(tmp_path, monkeypatch):
    (tmp_path / "registry_home.py").write_text(
        "from logclock.config import Registry\n"
        "import sys\n"
        "sys.modules['registry_owner'].family.register('far')(type('Far', (), {}))\n"
    )
    owner = types.ModuleType("registry_owner")
    owner.family = Registry("thing", tag="kind", home="registry_home")
    monkeypatch.setitem(sys.modules, "registry_owner", owner)
    monkeypatch.syspath_prepend(tmp_path)
    owner.family.register("near")(type("Near", (), {}))

    assert owner.family.get("near").__name__ == "Near"
    assert "registry_home" not in sys.modules
    assert owner.family.get("far").__name__ == "Far"
    assert list(owner.family) == ["far", "near"]
    with pytest.raises(ValueError, match="unknown thing 'other'"):
        owner.family.get("other")


def test_optimizers_are_known_to_whoever_imports_the_grammar_alone():
    code = "from logclock.rules import Spec; print(Spec.family.get('adana').__name__, len(list(Spec.family)) > 10)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout.split() == ["AdanaSpec", "True"], done.stderr
