"""Which names are promised? The list is data: a change of the public surface shows up here."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import logclock
from logclock.optim import classes
from logclock.optim.stubs import stubs
from logclock.rules import Spec

WRITTEN = [
    "AdaptiveWarmup",
    "Constant",
    "Cosine",
    "InverseTime",
    "Join",
    "Ledger",
    "Linear",
    "LowPrecisionWarning",
    "OptimizerFactory",
    "PowerGrowth",
    "RunRecord",
    "Schedule",
    "ScheduledOptimizer",
    "Translation",
    "Warmup",
    "WarmupStableDecay",
    "__version__",
    "compare_curves",
    "constant_decay",
    "from_spec",
    "gauss_newton_product",
    "gradient_covariance_product",
    "log_time_decay",
    "log_time_ema",
    "matrix_param_groups",
    "param_groups",
    "register",
    "spectral_dimension",
    "translate_adamw",
]
# One class for each algorithm: a file in logclock/algorithms adds its own. These were promised and stay.
PROMISED = {
    *("ADANA", "SGD", "SOAP", "AdEMAMix", "AdamW", "Dana", "DanaMK4", "DanaStar", "DanaStarMK4"),
    *("LaProp", "Lion", "Muon", "NAdamW", "NormSGD", "Signum"),
}
DERIVED = [spec.class_name for spec in map(Spec.family.get, Spec.family) if spec.__module__.startswith("logclock.")]
PUBLIC = sorted(WRITTEN + DERIVED)

SUBPACKAGES = [module.name for module in pkgutil.iter_modules(logclock.__path__) if module.ispkg]


def in_reading_order(names):
    """Sort as isort does: constants, then classes, then the rest."""

    def rank(name):
        if name.lstrip("_").isupper():
            return 0
        return 1 if name.lstrip("_")[0].isupper() else 2

    return sorted(names, key=lambda name: (rank(name), name))


def test_the_public_names_are_the_listed_ones():
    assert logclock.__all__ == PUBLIC
    assert in_reading_order(WRITTEN) == WRITTEN
    assert set(DERIVED) >= PROMISED


def test_the_public_surface_stays_small():
    # about 30 names beside the optimizers', of which there may be many
    assert len(WRITTEN) <= 45


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(logclock, name)

    if name == "register":  # the door of the grammar under the name of what it does
        assert value is importlib.import_module("logclock.rules").algorithm
    elif name != "__version__":
        assert inspect.getdoc(value)
        home = importlib.import_module(".".join(value.__module__.split(".")[:2]))
        assert name in home.__all__
        assert getattr(home, name) is value


def test_names_are_listed_for_completion_and_star_imports():
    namespace = {}
    exec("from logclock import *", namespace)

    assert dir(logclock) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(namespace)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'logclock' has no attribute 'Adanna'"):
        _ = logclock.Adanna
    with pytest.raises(ImportError, match="cannot import name 'Adanna' from 'logclock'"):
        exec("from logclock import Adanna")


def test_type_checkers_see_the_names_that_are_loaded_lazily():
    tree = ast.parse(Path(logclock.__file__).read_text())
    blocks = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]

    seen = {alias.asname or alias.name for block in blocks for n in block.body for alias in n.names}

    assert seen == set(WRITTEN) - {"__version__"} | {"*"}  # those of the classes' stub


@pytest.mark.parametrize("path", stubs())
def test_the_stubs_are_those_of_the_registered_optimizers(path):
    written = (Path(logclock.__file__).parent / path).read_text()

    assert written == stubs()[path], f"{path} is out of date: run `make stubs`."


def test_the_version_is_that_of_the_package():
    numbers = logclock.__version__.split(".")

    assert len(numbers) >= 3
    assert numbers[0].isdigit()
    assert numbers[1].isdigit()


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_subpackage_lists_its_names_in_order(name):
    module = importlib.import_module(f"logclock.{name}")

    assert module.__doc__
    listed = [public for public in module.__all__ if name != "optim" or public not in classes.__all__]
    assert listed == in_reading_order(set(listed))
    assert len(set(module.__all__)) == len(module.__all__)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_public_class_and_function_has_its_own_docstring(name):
    module = importlib.import_module(f"logclock.{name}")
    values = {public: getattr(module, public) for public in module.__all__}
    documented = {
        public: value.__doc__ for public, value in values.items() if inspect.isclass(value) or inspect.isfunction(value)
    }

    assert [public for public, doc in documented.items() if not (doc or "").strip()] == []
    # what a dataclass writes for itself is no documentation
    written = [
        public
        for public, value in values.items()
        if dataclasses.is_dataclass(value) and inspect.isclass(value) and value.__doc__.startswith(f"{public}(")
    ]
    assert written == []


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_every_public_method_has_a_docstring(name):
    module = importlib.import_module(f"logclock.{name}")
    missing = [
        f"{public}.{attribute}"
        for public in module.__all__
        if inspect.isclass(value := getattr(module, public)) and value.__module__.startswith("logclock.")
        for attribute, member in vars(value).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod))
        and not inspect.getdoc(getattr(value, attribute))
    ]

    assert missing == []
