"""Does the documentation say what the package does? Coverage by the registries, code blocks run, links followed."""

import dataclasses
import doctest
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import logclock
from logclock.models import ModelConfig
from logclock.optim import ScheduledOptimizer
from logclock.recipes import RECIPES
from logclock.rules import Apply, Spec, Wrapper
from logclock.rules.state import SIDES
from logclock.schedules import AdaptiveWarmupPlan, LrSchedule, Schedule

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)
OPTIMIZERS = sorted(name for name, spec in Spec.family.members.items() if spec.__module__.startswith("logclock."))

BLOCK = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [
        (page.read_text()[: m.start()].count("\n") + 2, m[2])
        for m in BLOCK.finditer(page.read_text())
        if m[1] == language
    ]


def prose(page):
    return BLOCK.sub("", page.read_text())


def section(page, title):
    """The text below a heading, up to the next one of its level."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", page.read_text(), re.DOTALL | re.MULTILINE)
    assert match, f"{page.name} has no section {title!r}"
    return match[2]


def table(text):
    """The rows of the first Markdown table, as lists of cells without the heading."""
    lines = re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def ids(path):
    return str(path.relative_to(DOCS))


# -- coverage ---------------------------------------------------------------------------------------------------------


def test_every_optimizer_has_a_page_and_every_page_an_optimizer():
    pages = {p.stem for p in (DOCS / "optimizers").glob("*.md")}

    assert sorted(pages - {"index", "around"}) == OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_page_says_all_there_is_to_say(name):
    page = DOCS / "optimizers" / f"{name}.md"
    for title in (
        "Equation",
        "Schedules in use",
        "When not to use it",
        "Deviations",
        "How it is verified",
        "References",
    ):
        assert section(page, title).split(), title
    assert len(section(page, "When not to use it").split()) > 5
    assert "$$" in section(page, "Equation")
    assert f"drawing}} optimizer-{name}\n" in page.read_text()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_follows_from_the_spec_is_not_written_on_the_page(name):
    page = DOCS / "optimizers" / f"{name}.md"

    for title, directive in (("Hyperparameters", "hyperparameters"), ("Memory", "memory")):
        assert section(page, title).lstrip().startswith(f"```{{{directive}}} {name}\n```\n"), title
    assert not re.search(r"^\| `weight_decay` \|", page.read_text(), re.MULTILINE)


def test_every_option_is_described_with_its_equation():
    page = DOCS / "optimizers" / "around.md"
    options = [*Apply.family, *Wrapper.family]

    assert sorted(re.findall(r"^### `(\w+)`$", page.read_text(), re.MULTILINE)) == sorted(options)
    for name in options:
        text = section(page, f"`{name}`")
        assert "$$" in text, name
        assert f"```{{option-fields}} {name}\n```\n" in text, name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_derived_memory_is_that_of_the_state(derived, name):
    param = torch.nn.Parameter(torch.zeros(10, 10))
    param.grad = torch.ones(10, 10)
    shapes = [state.shape for state in Spec.family.get(name)().rule.states.values() if not isinstance(state.shape, str)]
    ranks = {
        side: 1 for shape in shapes for side in shape if side not in (*SIDES, "blocks")
    }  # thin beside a side of 10
    optimizer = ScheduledOptimizer([param], name, **ranks)
    optimizer.step()

    text = derived.memory(Spec.family.get(name))

    if not optimizer.state[param].keys() - {"step"}:
        assert text.startswith("None")
        return
    stated, _, rest = text.partition(" bytes ")
    share_of_rank = 1 / 10
    terms = [term.partition(" ") for term in stated.split(" + ")]
    value = sum(int(number) * (share_of_rank if unit == "r/n" else 1) for number, _, unit in terms)
    assert 0 <= optimizer.state_bytes() / 100 - value < 1  # numbers and vectors do not count
    assert rest.startswith("per float32 parameter")
    names = [row[0].strip("`") for row in table(text)]
    assert names == [state for state in optimizer.state[param] if state != "step"]


def test_derived_tables_say_default_values_and_meaning(derived):
    rows = {row[0].strip("`"): row[1:] for row in table(derived.hyperparameters(Spec.family.get("adana")))}

    assert list(rows)[:3] == ["lr", "kappa", "delta"]
    assert rows["kappa"][:2] == ["`0.85`", "[0, 1]"]
    assert rows["ema1"] == ["`None`", "(0, 1], schedule, None", rows["ema1"][2]]
    assert rows["ema1"][2] == "Weight of the new gradient in m; delta / (delta + t) if None."
    assert rows["decay_coupling"][:2] == ["`'independent'`", "`'independent'`, `'coupled'`"]
    assert rows["apply"][0] == "`'decay'`"
    assert rows["wrappers"][0] == "`[]`"


def test_derived_tables_name_the_betas_that_are_understood(derived):
    assert "`betas=(beta1, beta2)` for `ema1 = 1 - beta1` and" in derived.hyperparameters(Spec.family.get("lion"))
    assert "`beta3` for `ema_slow = 1 - beta3`" in derived.hyperparameters(Spec.family.get("ademamix"))
    assert "betas" not in derived.hyperparameters(Spec.family.get("sgd"))


def test_the_derived_table_of_optimizers_names_class_state_and_decay(derived):
    rows = {row[0]: row[1:] for row in table(derived.all_optimizers())}

    assert len(rows) == len(OPTIMIZERS)
    assert rows["[`dana-mk4`](dana-mk4.md)"][:5] == [
        "`DanaMK4`",
        "`exp_avg`, `exp_avg_sq`",
        "8",
        "independent, after",
        "any",
    ]
    assert rows["[`soap`](soap.md)"][2:5] == ["24", "coupled, after", "matrices"]
    for name, row in zip(OPTIMIZERS, rows.values(), strict=True):
        assert getattr(logclock, row[0].strip("`")).algorithm == name


def test_derived_tables_of_options_have_fields_and_states(derived):
    fields, states = derived.option("ema_nesterov").split("\n\n")

    assert [row[:3] for row in table(fields)] == [
        ["`lookahead`", "`0.6`", "\\>= 0, schedule"],
        ["`memory_weight`", "`0.01`", "(0, 1], schedule"],
    ]
    assert table(states) == [
        ["`ema_nesterov_displacement`", "the parameter's", "0", "any that can follow memory\\_weight"]
    ]
    assert derived.option("grams") == "It has no hyperparameters and no state."


def test_every_schedule_has_a_section_with_formula_fields_and_figure():
    page = DOCS / "schedules.md"
    shared = {f.name for f in dataclasses.fields(LrSchedule)}

    assert sorted(re.findall(r"^### `(\w+)`$", page.read_text(), re.MULTILINE)) == sorted(Schedule.family)
    for kind in Schedule.family:
        text = section(page, f"`{kind}`")
        cls = Schedule.family.get(kind)
        if not issubclass(cls, Schedule):  # a plan, with a page of its own
            assert f"({kind.replace('_', '-')}.md)" in text
            continue
        assert f"drawing}} schedule-{kind}\n" in text, kind
        assert "$$" in text or kind == "join", kind
        own = {f.name for f in dataclasses.fields(cls)} - (shared if issubclass(cls, LrSchedule) else set())
        assert {name for name in own if f"`{name}`" not in text} == set(), kind
    learning_rate = section(page, "Learning rate")
    assert {name for name in shared if f"`{name}`" not in learning_rate} == set()


@pytest.mark.parametrize(("title", "names"), [("Families", ModelConfig.family), ("Recipes", RECIPES)])
def test_every_model_and_recipe_has_a_row(title, names):
    rows = table(section(DOCS / "models.md", title))

    assert {row[0].strip("`") for row in rows} == set(names)


def test_the_settings_of_the_adaptive_warm_up_are_those_of_its_plan():
    rows = table(section(DOCS / "adaptive-warmup.md", "Settings"))

    documented = {row[0].strip("`"): row[1].strip("`") for row in rows}

    assert documented == {f.name: repr(f.default) for f in dataclasses.fields(AdaptiveWarmupPlan)}


def test_every_public_name_is_in_the_api_page():
    text = (DOCS / "api.md").read_text()

    documented = re.findall(r"^\.\. auto(?!module)\w+:: (\w+)$", text, re.MULTILINE)
    classes = [Spec.family.get(name).class_name for name in OPTIMIZERS]

    assert "\n.. optimizer-classes::\n" in text
    assert sorted([*documented, *classes, "__version__"]) == sorted(logclock.__all__)
    assert "`logclock.__version__`" in text


def test_every_room_is_in_the_design_page():
    rooms = {p.parent.name for p in (ROOT / "logclock").glob("*/__init__.py")}

    assert {row[0].strip("`") for row in table(section(DOCS / "design" / "index.md", "Rooms and layers"))} == rooms


def test_every_figure_that_is_drawn_is_shown_and_the_other_way_round(drawing):
    shown = [name for page in PAGES for name in re.findall(r"^```\{drawing\} (\S+)$", page.read_text(), re.MULTILINE)]

    assert sorted(shown) == sorted(drawing.figures())


def test_every_page_is_in_a_table_of_contents():
    listed = {"index.md"}
    for page in PAGES:
        for toctree in re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            names = [line for line in toctree.splitlines() if line and not line.startswith(":")]
            listed |= {ids(path) for name in names for path in page.parent.glob(f"{name}.md")}

    assert listed == {ids(page) for page in PAGES}


# -- what runs --------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=ids)
def test_every_python_block_runs(page):
    """The blocks of a page run one after another in one namespace; prompts are checked as doctests."""
    names = {"__name__": "documentation"}
    registered = [(family, dict(family.members)) for family in (Schedule.family, Spec.family)]
    try:
        for line, source in blocks(page, "python"):
            if source.startswith(">>>"):
                example = doctest.DocTestParser().get_doctest(source, names, page.name, str(page), line - 1)
                runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
                report = []
                runner.run(example, out=report.append, clear_globs=False)
                assert runner.failures == 0, "".join(report)
                names |= example.globs
            else:
                code = compile("\n" * (line - 1) + source, str(page), "exec")  # errors show the line of the page
                exec(code, names)
    finally:
        for family, members in registered:
            family.members.clear()
            family.members.update(members)


COMMAND_LINES = [
    (page, command)
    for page in PAGES
    for _, text in blocks(page, "console")
    for command in re.findall(r"^\$ (logclock .*)$", text.replace("\\\n", " "), re.MULTILINE)
]


@pytest.mark.parametrize(("page", "command"), COMMAND_LINES, ids=[command for _, command in COMMAND_LINES])
def test_every_command_line_is_understood(page, command):
    """It parses, with every option known; nothing is run."""
    tyro = pytest.importorskip("tyro")
    from logclock.cli.commands import COMMANDS, DATA_COMMANDS
    from logclock.cli.plrf import PLRF_COMMANDS

    words = shlex.split(command, comments=True)[1:]
    commands, groups = COMMANDS, {"data": DATA_COMMANDS, "plrf": PLRF_COMMANDS}
    if words[0] in groups:
        commands, words = groups[words[0]], words[1:]
    function = commands[words[0]]
    called = []

    def stand_in(*arguments, **options):
        called.append((arguments, options))

    stand_in.__signature__ = inspect.signature(function)
    stand_in.__annotations__ = function.__annotations__
    tyro.cli(stand_in, args=words[1:], config=(tyro.conf.OmitArgPrefixes,))

    assert len(called) == 1


def test_every_command_is_described():
    pytest.importorskip("tyro")
    from logclock.cli.commands import COMMANDS

    rows = table(section(DOCS / "quickstart.md", "The command line"))

    assert sorted(row[0].strip("`") for row in rows) == sorted(f"logclock {name}" for name in COMMANDS)


# -- what is linked ---------------------------------------------------------------------------------------------------


def anchors(page):
    """The anchors of a page: its headings as myst makes them, and its explicit labels."""
    text = BLOCK.sub("", page.read_text())
    headings = re.findall(r"^#{1,3} (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((\S+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_internal_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://arxiv.org/", "https://github.com/")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{target}: no such page"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


def test_files_and_tests_that_pages_name_exist():
    sources = "\n".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    for page in PAGES:
        for path in re.findall(r"`((?:tests|logclock|docs|benchmarks)/[\w./-]+)`", prose(page)):
            if not Path(path).name.startswith("x."):  # x stands for the name of a new optimizer
                assert (ROOT / path).exists(), f"{page.name} names {path}"
        for name in re.findall(r"`(test_\w+)`", prose(page)):
            assert f"def {name}(" in sources, f"{page.name} names {name}"


def test_nothing_is_loaded_from_another_host():
    sources = [DOCS / "conf.py", *(DOCS / "_ext").glob("*.py"), *(DOCS / "_static").iterdir()]

    for source in sources:
        assert not re.search(r"https?://(?!arxiv\.org/abs/)|//cdn", source.read_text()), source.name
    for page in PAGES:
        urls = set(re.findall(r"https?://[\w./-]+", page.read_text()))
        known = ("https://arxiv.org/abs/", "https://github.com/")  # papers, and threads of issues
        assert all(url.startswith(known) for url in urls), f"{page.name}: {urls}"


# -- what is built ----------------------------------------------------------------------------------------------------


def extension(name):
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location(f"documentation_{name}", DOCS / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawing():
    pytest.importorskip("matplotlib")
    return extension("drawing")


@pytest.fixture(scope="module")
def derived():
    return extension("derived")


def test_the_figure_of_an_optimizer_needs_no_code_of_its_own(drawing):
    panels = {panel.title: panel for panel in drawing.derived_panels("nadamw")}

    assert list(panels["weight of the newest sample"].curves) == ["ema1", "ema2"]
    assert list(panels["factors in the update"].curves) == ["grad_weight", "momentum_weight", "correction2"]
    # 0.1 / (1 - 0.9) at the first update, with the betas (0.9, 0.999) of the ADANA paper's AdamW
    assert panels["factors in the update"].curves["grad_weight"](1) == pytest.approx(1.0)


def test_a_figure_shows_slots_and_derived_numbers_and_no_constants_or_switches(drawing):
    assert drawing.scalars_to_show(Spec.family.get("soap")()) == ["gram_ema", "correction"]


def test_figures_show_every_registered_name(drawing):
    assert sorted(n for n in drawing.figures() if n.startswith("optimizer-")) == [f"optimizer-{n}" for n in OPTIMIZERS]
    assert sorted(drawing.SCHEDULES) == [k for k in Schedule.family if issubclass(Schedule.family.get(k), Schedule)]
    for kind, (_, _, examples) in drawing.SCHEDULES.items():
        assert {type(example) for example in examples} == {Schedule.family.get(kind)}


def test_a_figure_has_a_label_for_every_curve(drawing):
    panel = drawing.schedule_panel("wsd")

    assert list(panel.curves) == [
        "WarmupStableDecay(warmup_steps=100, total_steps=1000)",
        "WarmupStableDecay(total_steps=1000, decay_steps=400, decay_shape='cosine')",
        "WarmupStableDecay(total_steps=1000, decay_steps=400, decay_shape='sqrt')",
    ]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", str(tmp_path / "trees"), "-b", "html"]

    done = subprocess.run([*command, str(DOCS), str(tmp_path / "html")], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    built = list((tmp_path / "html").rglob("*.html"))
    assert len(built) > len(PAGES)
    derived = (tmp_path / "html" / "optimizers" / "around.html").read_text()
    assert "Largest root mean square of a tensor" in derived
    for page in built:
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*\"", page.read_text()
        )
        assert loaded == [], page.name
        assert "<math" in page.read_text() or "$$" not in page.read_text()
