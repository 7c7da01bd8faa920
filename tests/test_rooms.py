"""Rooms import only what they may, in one direction."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from operate.config import ROOT

# What the modules of a room may import of ours, besides each other: rooms, or single modules of them.
ARROWS = {
    "model": set(),
    "handler": {"model"},
    "train": {"model"},
    "evaluate": {"model", "train.mnist", "train.strokes", "train.sheets", "operate.client", "operate.config"},
    "operate": {"model"},
    "bench": {"operate", "evaluate"},
}
# What running a service must not load: it would take memory and time.
HEAVY = ("torch", "torchvision", "matplotlib", "pyarrow", "openvino")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for room in ARROWS
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.stem != "__init__"
}


def enclosing(module: str) -> set[str]:
    """Return the name of a module and those of the packages that it is in."""
    parts = module.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def find_imports(path: Path) -> set[str]:
    """Return the names of our modules that a file imports, wherever in it that stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names & FILES.keys()


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_room_may(module: str) -> None:
    room = module.partition(".")[0]
    for imported in find_imports(FILES[module]):
        assert enclosing(imported) & {room, *ARROWS[room]}, f"{module} imports {imported}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: find_imports(path) for module, path in FILES.items()}
    assert graph["handler.digit_handler"] >= {"model.recognise", "handler.requests"}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", ARROWS)
def test_each_arrow_is_used(room: str) -> None:
    imported = {name for module, path in FILES.items() if room in enclosing(module) for name in find_imports(path)}
    for arrow in ARROWS[room]:
        assert any(arrow in enclosing(name) for name in imported), f"{room} never imports {arrow}"


def test_no_file_changes_where_modules_come_from() -> None:
    for path in [*FILES.values(), *(ROOT / "scripts").iterdir(), *(ROOT / "tests").rglob("*.py")]:
        if path != Path(__file__) and path.name != "test_archive.py":
            text = path.read_text()
            assert "sys.path" not in text, path
            assert "PYTHONPATH=" not in text, path


def test_scripts_are_short_shell_wrappers() -> None:
    scripts = sorted((ROOT / "scripts").iterdir())
    assert len(scripts) == 17
    for script in scripts:
        assert script.read_text().startswith("#!/bin/sh -e\n"), script


IMPORT = """
import importlib, pathlib, sys, threading
root, *modules = sys.argv[1:]
opened = []
sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event in ("open", "os.listdir") else None)
for module in modules:
    importlib.import_module(module)
ours = [pathlib.Path(name) for name in opened if name.startswith(root) and "/.venv/" not in name]
print([str(path) for path in ours if path.is_file() and path.suffix not in (".py", ".pyc")])
print(threading.active_count() - 1)
print(sorted(sys.modules))
mpl = sys.modules.get("matplotlib")
print(mpl is not None and any(mpl.rcParams[name] != mpl.rcParamsDefault[name] for name in ("font.size", "axes.grid")))
"""


def import_modules(*modules: str) -> list[str]:
    """Import modules in a fresh interpreter; return what that reads, starts, loads and whether it sets a style."""
    command = [sys.executable, "-c", IMPORT, str(ROOT), *modules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow
def test_no_import_has_side_effects() -> None:
    read, threads, _, sets_style = import_modules(*FILES)
    assert (read, threads, sets_style) == ("[]", "0", "False")


@pytest.mark.slow
def test_running_a_service_loads_nothing_heavy() -> None:
    loaded = ast.literal_eval(import_modules(*(name for name in FILES if name.startswith("operate.")))[2])
    assert "operate.serve" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert "model.digit_net" not in loaded
