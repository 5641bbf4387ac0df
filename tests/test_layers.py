"""Does every import point downward? The rooms of docs/design and what each may import, checked on the source."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import logclock

PACKAGE = Path(logclock.__file__).parent

# What each room may import of ours. A room that is not listed fails the test: give it a line.
EDGES = {
    "config": set(),
    "schedules": {"config"},
    "records": {"config"},
    "rules": {"schedules", "config"},
    "algorithms": {"rules", "schedules", "config"},
    "backends": {"rules", "config"},
    "optim": {"backends", "algorithms", "rules", "schedules", "config"},
    "models": {"config"},
    "data": {"config"},
    "theory": {"algorithms", "backends", "rules", "schedules", "records", "config"},
    "train": {"optim", "models", "data", "records", "rules", "schedules", "config"},
    "sweep": {"train", "data", "records", "config"},
    "suggestions": {"schedules", "config"},
    "analysis": {"suggestions", "records", "config"},
    "diagnostics": {"train", "optim", "models", "data", "analysis", "records", "config"},
    "report": {"analysis", "records", "config"},
    "curves": {"report", "analysis", "records", "config"},
}
TOP = {
    "__init__",
    "__main__",
    "cli",
    "compare",
    "recipes",
    "testing",
}  # may import anything, and nothing below imports them
LEAVES = {"version"}  # imports nothing, and anything may import it

WITHOUT_TORCH = {"config", "schedules", "records", "suggestions", "analysis", "report", "curves"}
# In rules, torch stands behind the vocabulary, where matrices are handled, and in an apply stage on matrices.
TORCH_IN_RULES = {
    f"rules/{name}.py" for name in ("apply", "linalg", "low_rank", "ops", "projections", "random", "rule")
}


def room_of(path):
    """Return the room of a file, given relative to the package: its folder, or its own name at the top."""
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imports_of(tree):
    """Yield (module, line, whether it stands inside a function) for every import; relative ones start with a dot."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names = [f"{base}.{alias.name}" if base == "logclock" else base for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        for name in names:
            yield name, node.lineno, id(node) in inside


def uses_only_the_location(tree):
    """Return whether `logclock` itself is named for `logclock.__file__` alone, which is no use of what it exports."""
    whole = {n.value for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "__file__"}
    return all(n in whole for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "logclock")


def violations(package):
    """Return one sentence for each import of a source tree that the table does not allow."""
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        room = room_of(relative)
        if room in TOP:
            continue
        if room not in EDGES and room not in LEAVES:
            found.append(f"{relative}: the room {room!r} has no line in EDGES")
            continue
        tree = ast.parse(path.read_text())
        for module, line, is_lazy in imports_of(tree):
            where = f"{relative}:{line}"
            parts = module.split(".")
            if module.startswith("."):
                found.append(f"{where}: relative import")
            elif parts[0] == "torch":
                if room in WITHOUT_TORCH or (room == "rules" and relative.as_posix() not in TORCH_IN_RULES):
                    found.append(f"{where}: {room} imports torch")
            elif module == "logclock" and uses_only_the_location(tree):
                continue
            elif parts[0] == "logclock":
                target = parts[1] if len(parts) > 1 else "__init__"
                if target not in {room} | LEAVES | EDGES.get(room, set()):
                    found.append(f"{where}: {room} imports {target}")
                elif is_lazy and target not in LEAVES:
                    found.append(f"{where}: {room} imports {target} inside a function")
    return found


def test_every_import_points_downward():
    assert violations(PACKAGE) == []


def test_the_table_itself_has_no_cycle():
    order = list(graphlib.TopologicalSorter(EDGES).static_order())

    assert order[0] == "config"
    assert order.index("rules") < order.index("backends") < order.index("optim") < order.index("train")


def test_models_and_data_never_import_optim_and_reports_never_train():
    def reach(room):
        return {room}.union(*(reach(below) for below in EDGES[room]))

    assert "optim" not in reach("models") | reach("data")
    assert not {"optim", "rules", "backends", "train", "models", "data"} & (reach("report") | reach("analysis"))


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("config/codec.py", "from logclock.schedules import Schedule", "config/codec.py:1: config imports schedules"),
        ("schedules/base.py", "import logclock.records.ledger", "schedules/base.py:1: schedules imports records"),
        ("schedules/base.py", "import math\nimport torch", "schedules/base.py:2: schedules imports torch"),
        ("records/a.py", "from torch import nn", "records/a.py:1: records imports torch"),
        ("rules/stage.py", "from torch import sqrt", "rules/stage.py:1: rules imports torch"),
        ("rules/ops.py", "import torch", None),
        ("rules/stage.py", "from logclock import backends", "rules/stage.py:1: rules imports backends"),
        ("rules/spec.py", "from logclock.algorithms import x", "rules/spec.py:1: rules imports algorithms"),
        ("algorithms/muon.py", "import torch\nfrom logclock.rules import x", None),
        ("algorithms/a.py", "from logclock.backends import x", "algorithms/a.py:1: algorithms imports backends"),
        (
            "backends/loop.py",
            "import torch\nfrom logclock.schedules import x",
            "backends/loop.py:2: backends imports schedules",
        ),
        ("models/enoki.py", "from logclock.optim import ADANA", "models/enoki.py:1: models imports optim"),
        ("models/enoki.py", "from logclock.models.layers import x", None),
        ("models/enoki.py", "from logclock.data import x", "models/enoki.py:1: models imports data"),
        ("data/a.py", "from logclock import ADANA", "data/a.py:1: data imports ADANA"),
        ("data/a.py", "import logclock\nlogclock.ADANA", "data/a.py:1: data imports __init__"),
        ("data/a.py", "import logclock\nprint(logclock.__file__)", None),
        ("train/a.py", "from logclock.version import __version__", None),
        ("train/a.py", "from logclock.sweep import x", "train/a.py:1: train imports sweep"),
        ("train/a.py", "from logclock.recipes.demo import x", "train/a.py:1: train imports recipes"),
        ("train/a.py", "from logclock.cli import main", "train/a.py:1: train imports cli"),
        ("analysis/a.py", "def f():\n    import torch.nn", "analysis/a.py:2: analysis imports torch"),
        ("report/a.py", "if True:\n    from logclock.train import x", "report/a.py:2: report imports train"),
        ("report/a.py", "from logclock.analysis import x", None),
        ("report/deep/er/a.py", "from logclock.sweep import x", "report/deep/er/a.py:1: report imports sweep"),
        ("config/a.py", "from .registry import Registry", "config/a.py:1: relative import"),
        ("config/a.py", "from . import registry", "config/a.py:1: relative import"),
        (
            "optim/a.py",
            "def f():\n    from logclock.rules import x",
            "optim/a.py:2: optim imports rules inside a function",
        ),
        (
            "optim/a.py",
            "import importlib\nimportlib.import_module('logclock.train')",
            "optim/a.py:2: optim imports train",
        ),
        ("attic/a.py", "x = 1", "attic/a.py: the room 'attic' has no line in EDGES"),
        ("extra.py", "x = 1", "extra.py: the room 'extra' has no line in EDGES"),
        ("recipes/demo.py", "from logclock.train import x\nimport torch", None),
        ("cli.py", "def f():\n    from logclock.train import x", None),
    ],
)
def test_the_check_finds_a_bad_edge_and_lets_a_good_one_pass(tmp_path, path, source, expected):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)

    assert violations(tmp_path) == ([expected] if expected else [])


def run_python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


FREE_OF_TORCH = [
    "logclock",
    "logclock.config",
    "logclock.schedules",
    "logclock.records",
    "logclock.suggestions",
    "logclock.analysis",
    "logclock.report",
    "logclock.curves",
]


def test_the_torch_free_half_does_not_load_torch():
    program = (
        "import importlib, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        f"for name in {FREE_OF_TORCH!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = run_python(program)

    assert done.returncode == 0, done.stderr


def test_the_optimizers_load_nothing_that_the_bench_extra_brings():
    program = (
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "import logclock.optim\n"
        "extra = {'scipy', 'matplotlib', 'tyro', 'rich', 'safetensors', 'tokenizers', 'tensorboard', 'pyarrow'}\n"
        "rooms = {'logclock.train', 'logclock.data', 'logclock.models', 'logclock.records', 'logclock.analysis'}\n"
        "print(sorted((extra | rooms) & set(sys.modules)))\n"
    )
    done = run_python(program)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_a_schedule_is_used_without_torch():
    program = (
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from logclock import log_time_decay, Ledger\n"
        "assert log_time_decay(4.0, offset=10)(30) == 0.1\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = run_python(program)

    assert done.returncode == 0, done.stderr
