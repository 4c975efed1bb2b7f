"""The documentation names every command, flag, setting, hook and public name; its tables are those of the program."""

import argparse
import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import textwrap

import pytest

import astroanomaly
import astroanomaly.fetch
from astroanomaly.cli import COMMANDS
from astroanomaly.cli.flags import describe_options
from astroanomaly.config import FetchConfig
from astroanomaly.hookspecs import CrossmatchService, HookSpecs, Ranker, RankerContext, Source
from astroanomaly.learn.settings import settings_sections
from folders import ROOT

DOCS = ROOT / "docs"
PAGES = [
    path
    for path in (*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "plugins" / "README.md")
    if not {"_build", "generated", "paper"} & set(path.parts)  # the paper has its own build
]


def page(*parts):
    return DOCS.joinpath(*parts).read_text(encoding="utf-8")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def generate():
    specification = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    with module.only_own_plugins():
        yield module


def page_of(source):
    """The page of a source, of its own or shared with others, as the list of sources names it."""
    listed = re.search(rf"\[`{source}`\]\(([\w-]+\.md)(?:#{source})?\)", page("sources", "index.md"))
    assert listed, source
    return listed[1]


def test_every_command_has_a_page_with_all_its_flags(generate):
    missing = []
    for command, parser in generate.command_parsers().items():
        words = command.split()[1:]
        text = page("commands", f"{words[0]}.md" if words else "index.md")
        if words[:1] == ["ingest"] and len(words) == 2:
            text += page("sources", page_of(words[1]))
        for action in [a for a in parser._actions if a.help != argparse.SUPPRESS]:
            if not isinstance(action, argparse._HelpAction):
                missing += [f"{command} {flag}" for flag in action.option_strings if not re.search(f"{flag}\\b", text)]
    assert not missing, missing


def test_every_command_has_its_page_and_its_file_of_the_same_name():
    own = {
        "__init__",
        "assignments",
        "common",
        "flags",
        "label_flags",
        "progress",
        "source_flags",
        "terminal",
    }  # what commands share
    files = {path.stem for path in (ROOT / "astroanomaly" / "cli").glob("*.py")}
    assert files - own == set(COMMANDS)
    assert {path.stem for path in (DOCS / "commands").glob("*.md")} - {"index"} == set(COMMANDS)


def test_every_command_is_in_the_list_of_commands(generate):
    text = page("commands", "index.md")
    for command in generate.command_parsers():
        words = command.split()[1:]
        if words:
            assert f"({words[0]}.md)" in text
            assert re.search(rf"^{words[0]}$", text, re.MULTILINE), f"{words[0]} is not in the table of contents"


def test_every_source_and_ranker_has_its_place(generate):
    registry = astroanomaly.plugins.load_plugins()
    assert not registry.broken, registry.broken
    for source in registry.sources:
        assert f"<!-- flags: astroanomaly ingest {source} -->" in page("sources", page_of(source))
        assert f"`{source}`" in page("commands", "ingest.md")
    for ranker in registry.rankers:
        assert f"\n## {ranker}\n" in page("rankers.md")
    for service in registry.crossmatches:
        assert f"\n| `{service}` |" in page("commands", "crossmatch.md")


def test_tables_are_those_of_the_program(generate):
    stale = [
        name_of(path)
        for path in generate.pages()
        if generate.render(path.read_text("utf-8")) != path.read_text("utf-8")
    ]
    assert not stale, f"run `python docs/generate.py`: {stale}"


def test_every_setting_is_listed(generate):
    text = page("settings.md")
    for section, options in settings_sections().items():
        for item in dataclasses.fields(options):
            assert f"`{section}.{item.name}`" in text
            assert item.metadata.get("help"), f"{section}.{item.name} has no help"


def test_settings_named_in_the_text_exist(generate):
    sections = settings_sections()
    for path in PAGES:
        for section, key in re.findall(r"\b([a-z]+)\.([a-z_]+)=", path.read_text("utf-8")):
            if section in ("peak", "asymmetry"):  # rankers of the plugin guide and tutorial
                continue
            assert section in sections, f"{name_of(path)}: {section}.{key}"
            assert key in {item.name for item in dataclasses.fields(sections[section])}, f"{name_of(path)}: {key}"


def test_commands_in_the_text_are_valid(generate):
    """Every line that begins with `astroanomaly` in a block of commands has a known command and known flags."""
    parsers = generate.command_parsers()
    wrong = []
    for path in PAGES:
        for block in re.findall(r"```(?:\{code-cell\})?\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            for line in textwrap.dedent(block).splitlines():
                words = line.split("#")[0].split(" | ")[0].split("&&")[-1].split()
                if words[:1] != ["astroanomaly"] or words[1:3] in (["ingest", "npz"], ["ingest", "stacks"]):
                    continue
                known = max((p for p in parsers if words[: len(p.split())] == p.split()), key=len)
                flags = {flag for action in parsers[known]._actions for flag in action.option_strings}
                if "--source" in words:  # the source's own options follow
                    source = parsers[f"astroanomaly ingest {words[words.index('--source') + 1]}"]
                    flags |= {flag for action in source._actions for flag in action.option_strings}
                unfinished = any(isinstance(action, argparse._SubParsersAction) for action in parsers[known]._actions)
                if unfinished or {word for word in words if word.startswith("-")} - flags:
                    wrong.append(f"{name_of(path)}: {line}")
    assert not wrong, "\n".join(wrong)


def test_flags_named_in_the_text_exist(generate):
    known = {
        flag
        for parser in generate.command_parsers().values()
        for action in parser._actions
        for flag in action.option_strings
    }
    known |= {flag for flag, _, _ in describe_options(FetchConfig)} | {"--no-refresh"}  # of sources that ask archives
    known |= {"--max-missing", "--bands", "--flag", "--no-flag", "--band"}  # of the plugin guide
    wrong = []
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        wrong += [f"{name_of(path)}: {flag}" for flag in re.findall(r"`(--[a-z-]+)", text) if flag not in known]
    assert not wrong, wrong


def test_the_plugin_guide_explains_the_contract():
    guide = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(HookSpecs) if name.startswith("register")]
    assert hooks
    fields = {field.name for field in dataclasses.fields(RankerContext)}
    for name in (*hooks, *public(Source), *public(Ranker), *public(CrossmatchService), *fields):
        assert re.search(rf"`[^`]*\b{name}\b[^`]*`", guide), f"the guide does not mention {name}"


def public(protocol):
    names = {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}
    assert names
    return names


def test_the_plugin_guide_names_what_archive_plugins_share():
    guide = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    for name in astroanomaly.fetch.__all__:
        if name not in ("ClientOutput", "Traffic"):  # what two of them return
            assert re.search(rf"`[^`]*\b{name}\b[^`]*`", guide), f"the guide does not mention {name}"


def test_every_public_name_is_in_the_reference():
    listed = set(re.findall(r"^   (\w+)$", page("api.md"), re.MULTILINE))
    assert set(astroanomaly.__all__) - listed == {"__version__"}
    assert "__version__" in page("api.md")


def test_every_error_is_raised_somewhere():
    code = "".join(
        path.read_text("utf-8") for folder in ("astroanomaly", "plugins") for path in (ROOT / folder).rglob("*.py")
    )
    for name in astroanomaly.errors.__all__[1:]:
        assert re.search(rf"(raise|return) {name}\(", code), f"nobody raises {name}"


def test_links_between_pages_lead_somewhere():
    broken = []
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{name_of(path)}: {target}")
    assert not broken, broken


def test_every_page_is_in_the_table_of_contents():
    listed = {DOCS / "index.md"}
    for path in DOCS.rglob("index.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            lines = [line for line in block.splitlines() if line and not line.startswith(":")]
            listed |= {(path.parent / f"{line}.md").resolve() for line in lines}
    assert {path.resolve() for path in PAGES if path.is_relative_to(DOCS)} == {path.resolve() for path in listed}


def test_no_page_names_a_place_on_somebodys_machine():
    wrong = [
        f"{name_of(path)}: {found}"
        for path in PAGES
        for found in re.findall(r"(?<![\w.])/(?:home|root|work|Users|mnt|tmp)\b\S*", path.read_text("utf-8"))
    ]
    assert not wrong, wrong


def test_the_readme_has_the_commands_that_ci_runs():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.count("pip install . && astroanomaly demo") == 1
    assert lines.count("pip install '.[test]' && pytest") == 1


@pytest.mark.parametrize("name", ["run", "oldest"])
def test_a_ci_script_is_a_program_without_errors_of_syntax(name):
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


# --------------------------------------------------------------------------------------------------- troubleshooting


def fragments(message):
    """Parts of a quoted message that are the same whatever it is about."""
    return [part.strip() for part in re.split(r"[A-Z]{2,}|\.\.\.|'[^']*'|\d[\d.:]*|\[[^]]*\]|`", message)]


def texts_of_the_program():
    """Every piece of text in the code; what is filled in is left out."""
    for folder in ("astroanomaly", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_class_of_error_has_its_paragraph():
    headings = re.findall(r"^## (\w+)$", page("troubleshooting.md"), re.MULTILINE)
    assert sorted(headings) == sorted(astroanomaly.errors.__all__)


def test_quoted_messages_are_those_of_the_program():
    program = "\n".join(texts_of_the_program())
    quoted = re.findall(r"^\* \*([^*]+)\*", page("troubleshooting.md"), re.MULTILINE)
    assert len(quoted) > 20
    wrong = [
        (message, part) for message in quoted for part in fragments(message) if len(part) > 8 and part not in program
    ]
    assert not wrong, wrong


# ----------------------------------------------------------------------------------------------------------- language

AMERICAN = r"\b(color(ed|s|ing)?|center(ed|s)?|behavior|analyzed?|labeled|labeling|gray|neighbors?|fiber|favorite)\b"


def prose(text):
    """A page without code, links, tables of the program and HTML."""
    text = re.sub(r"^([`:]{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!-- \w.*?<!-- end -->", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)|^\|.*$", "", text, flags=re.MULTILINE)


def test_prose_is_british():
    pages = [path for path in PAGES if path.name != "CHANGELOG.md"]
    found = [
        f"{name_of(path)}: {match[0]}"
        for path in pages
        for match in re.finditer(AMERICAN, prose(path.read_text("utf-8")), re.IGNORECASE)
    ]
    assert not found, found


def test_the_figure_of_the_results_is_drawn_from_their_tables():
    specification = importlib.util.spec_from_file_location("docs_results_figure", DOCS / "results_figure.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    text = page("results.md")
    labelled = module.read_table(text, module.LABELLED, 1)
    assert labelled["AstroAnomaly, tuned"] == (0.659, 0.028)
    assert labelled["FixMatch as published, in AstroAnomaly"] == pytest.approx((0.563, 0.014))  # .549 and .577
    found = module.read_table(text, module.FOUND, 2)
    assert found["Astronomaly's method on the same features"] == (11.4, 2.8)
    assert all(value > module.CHANCE_FOUND for value, _ in found.values())
