"""What `pip install btrnn` brings: which packages of ours, which requirements, and that the two fit together."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from btrnn.data.module import stand_in
from btrnn.engine.command import user_errors

from .conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
LIBRARY = {"btrnn", "btrnn.ops", "btrnn.ops.native", "btrnn.nn", "btrnn.models"}  # what needs torch alone


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Return requirements by name, those of this project's own extras followed."""
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        if requirement.name == "btrnn":
            for extra in requirement.extras:
                found |= requirements(EXTRAS[extra])
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def shipped_packages() -> set[str]:
    options = PROJECT["tool"]["setuptools"]["packages"]["find"]
    return set(find_packages(str(ROOT), include=options["include"], exclude=options["exclude"]))


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package.replace(".", "/")).glob("*.py"))


def imports(path: Path, *, top_level: bool) -> set[str]:
    """Return the modules that a file imports: all of them, or those that importing it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {child for node in ast.walk(tree) if isinstance(node, ast.If) for child in ast.walk(node)}
    nodes = [node for node in tree.body if node not in guarded] if top_level else list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_the_wheel_has_no_benchmark_program_no_generator_and_no_test():
    packages = shipped_packages()
    assert packages >= LIBRARY
    left_out = ("btrnn.benchmark.measure", "btrnn.data.standins", "tests")
    assert not [name for name in packages if name.startswith(left_out)]


def test_a_stand_in_that_is_not_installed_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "btrnn.data.standins", None)  # as where the wheel is installed
    monkeypatch.delitem(sys.modules, "btrnn.data.standins.motions", raising=False)
    with pytest.raises(user_errors(), match=r"the stand-in motions .*pip install --editable"):
        stand_in("motions")


def test_what_is_in_the_wheel_imports_nothing_of_ours_that_is_not():
    packages = shipped_packages()
    everything = set(find_packages(str(ROOT), include=["btrnn*"]))
    left_out = everything - packages
    for package in packages:
        for path in modules(package):
            assert not imports(path, top_level=True) & left_out, path


def test_the_library_needs_torch_and_jaxtyping_alone():
    assert set(requirements(PROJECT["project"]["dependencies"])) == {"torch", "jaxtyping"}
    paths = [path for package in sorted(LIBRARY) for path in modules(package)]
    foreign = {name.split(".")[0] for path in paths for name in imports(path, top_level=False)}
    assert foreign - sys.stdlib_module_names - {"btrnn"} <= {"torch", "jaxtyping"}


def test_the_extras_name_what_is_imported():
    needed = requirements([*PROJECT["project"]["dependencies"], "btrnn[experiments]"])
    distributions = packages_distributions()
    for package in shipped_packages():
        for path in modules(package):
            for name in sorted({name.split(".")[0] for name in imports(path, top_level=False)}):
                if name not in sys.stdlib_module_names and name != "btrnn":
                    homes = {canonicalize_name(home) for home in distributions.get(name, [name])}
                    assert homes & set(needed), f"{path} imports {name}"


def test_the_pins_are_within_the_bounds():
    bounds = requirements([*PROJECT["project"]["dependencies"], "btrnn[dev]"])
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert set(bounds) <= pinned
    for pin in pins:
        version = re.fullmatch(r"==([\w.]+)", str(pin.specifier))
        bound = bounds.get(canonicalize_name(pin.name))
        assert version, pin
        assert bound is None or bound.specifier.contains(version[1]), f"{pin} is outside {bound}"


def test_the_workflow_tests_the_pythons_that_are_named():
    prefix = "Programming Language :: Python :: 3."
    named = {name.removeprefix(prefix) for name in PROJECT["project"]["classifiers"] if name.startswith(prefix)}
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    tested = workflow["jobs"]["library"]["strategy"]["matrix"]["python"]
    assert {version.removeprefix("3.") for version in tested} == named
    assert PROJECT["project"]["requires-python"] == f">=3.{min(map(int, named))}"
