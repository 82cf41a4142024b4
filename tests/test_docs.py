"""The documentation cannot rot: every python block runs, every command and every public name is described."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import everglade
from everglade.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
COMMANDS = sorted(command.name for command in app.registered_commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_in_its_help(command):
    registered = next(one for one in app.registered_commands if one.name == command)
    assert f"Example: everglade {command}" in registered.callback.__doc__


def test_the_command_reference_is_what_the_commands_say():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    now = subprocess.run(
        [sys.executable, "-m", "everglade.cli.reference"], capture_output=True, text=True, check=True
    ).stdout
    assert written == now, "docs/cli.md is out of date: run make docs"


def test_every_public_name_is_there_and_described():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in everglade.__all__:
        assert getattr(everglade, name).__doc__
        assert f"`{name}" in page, f"docs/api.md does not describe {name}"


def test_the_readme_leads_with_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index("make demo") < readme.index("make test") < readme.index("```python")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:", makefile, re.M)
    assert re.search(r"^test:", makefile, re.M)


def test_the_house_drawing_is_kept():
    """Every module of the package has a line in ARCHITECTURE.md."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "everglade"
    unnamed = {"__init__.py", "__main__.py"}
    modules = [file.relative_to(package) for file in package.rglob("*.py") if file.name not in unnamed]
    missing = [str(module) for module in modules if module.parts[0] != "cli" and module.stem not in page]
    assert not missing, f"ARCHITECTURE.md does not say what these are for: {missing}"
