"""Every command that README and docs/ show is one that hideseek knows; the short ones are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, MissingConfigException

from hideseek import __main__ as command_line
from hideseek import show
from hideseek.audit import selftest
from hideseek.config import config_folder, register
from hideseek.sweep import verbs
from hideseek.sweep.process import clean_environment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = ["quickstart", "add-model", "add-representation", "add-source"]
FLAGS = ("-m", "--multirun", "--help", "--quick")
PLACEHOLDER = re.compile(r"\.\.\.|[A-Z_]+(,[A-Z_]+)*")
"""Values that stand for the reader's own, and the choices of a group among them."""

COMPOSED: set[tuple[str, ...]] = set()
"""What composes; the pages repeat themselves."""


def lines_of_code(text: str) -> Iterator[str]:
    """Find the lines of fenced and indented blocks and the code in sentences, as one types them."""
    fenced = re.findall(r"^```(?:bash|console)?\n(.*?)^```$", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    indented = re.findall(r"^    (.+)$", rest, re.M)
    for block in (*fenced, "\n".join(indented)):
        yield from re.sub(r" *\\\n *", " ", block).splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^    .+$", "", rest, flags=re.M))


def commands(text: str) -> list[list[str]]:
    """Split into words what begins with a program that the project has."""
    found = []
    for line in lines_of_code(text):
        typed = re.sub(r"^\.\.\. (?=\w+\S*=)", "python train.py -m ", line.strip())
        typed = re.split(r"\s#|\s\|\| |\s&& ", typed)[0]
        if re.match(r"(hideseek|make) [a-z]|python train\.py |pip install -e ", typed):
            found.append(shlex.split(typed))
    return found


def known_settings(verb: str) -> set[str]:
    usage = selftest.USAGE if verb == "selftest" else verbs.USAGE.get(verb, "")
    return set(re.findall(r"(\w+)=", usage))


def composes(verb: str, words: Sequence[str], folder: Path) -> None:
    """Compose what is typed; of a sweep, once for each value of its longest list."""
    given = [word for word in words if word not in (*FLAGS, "...")]
    if "--config-dir" in given:
        at = given.index("--config-dir")
        given[at : at + 2] = [f"hydra.searchpath=[file://{folder / given[at + 1]}]"]
    parsed = [
        override
        for override in OverridesParser.create().parse_overrides(given)
        if not PLACEHOLDER.fullmatch(str(override.value()))
        or "." in override.key_or_group  # a text; else the name of a choice
    ]
    lists = [
        [str(value) for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.get_value_element_as_str()]
        for override in parsed
    ]
    for at in range(max(map(len, lists), default=1)):
        overrides = [
            f"{override.get_key_element()}={values[at % len(values)]}"
            for override, values in zip(parsed, lists, strict=True)
        ]
        if (verb, *overrides) not in COMPOSED:
            with initialize_config_dir(str(config_folder()), version_base="1.3"):
                compose(verb, overrides, return_hydra_config=True)
            COMPOSED.add((verb, *overrides))


def check(words: Sequence[str], folder: Path) -> None:
    """Hold a command against Makefile, extras, verbs, settings and the configuration tree."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert rest[0] in targets
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.findall(r"\[(.+)\]", rest[-1])[0].split(",")
        assert set(extras) <= set(project["optional-dependencies"])
    elif program == "python":
        composes("train", rest[1:], folder)
    else:
        check_verb(rest[0], rest[1:], folder)


def check_verb(verb: str, words: Sequence[str], folder: Path) -> None:
    about_a_network = verb == "audit" and any("=" in word for word in words[:1])
    if verb in command_line.VERBS and (verb not in verbs.FOLDER_VERBS or about_a_network):
        composes(verb, show.overrides(words) if verb == "show" else words, folder)
        return
    assert verb in {*verbs.FOLDER_VERBS, *verbs.LONE_VERBS}, f"hideseek has no verb {verb}"
    settings = [word for word in words if "=" in word]
    own = [word for word in settings if word.partition("=")[0] in known_settings(verb)]
    if verb == "rerun":
        composes("train", ["data=manifest", *(w for w in settings if w not in own)], folder)
    else:
        assert own == settings, f"hideseek {verb} takes {known_settings(verb)}"


def titled_files(page: Path) -> dict[str, str]:
    found = re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page.read_text(), re.M | re.S)
    return dict(found)


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a guide shows, and for a table the images that it names."""
    for name, content in titled_files(page).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if path.suffix == ".csv":
            (path.parent / "images").mkdir()
            for seed, row in enumerate(content.splitlines()[1:]):
                image = np.random.default_rng(seed).integers(0, 256, (96, 96), dtype=np.uint8)
                cv2.imwrite(str(path.parent / "images" / row.split(",")[0]), image)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_command_is_one_that_hideseek_knows(page: Path, tmp_path: Path) -> None:
    register()
    write_files(page, tmp_path)
    for words in commands(page.read_text()):
        try:
            check(words, tmp_path)
        except Exception as error:
            raise AssertionError(f"{page.name}: {shlex.join(words)}: {error}") from error


def test_commands_are_found() -> None:
    text = (
        "A `hideseek audit paper` and `seed=0`.\n\n"
        "| x | `... roi=original seed=0,1` |\n\n"
        "    make demo     # installs\n"
        "    python train.py -m \\\n        roi=silhouette\n\n"
        "```bash\nhideseek audit a || echo no\n```\n"
        '```python title="x.py"\nhideseek not\n```\n'
    )
    assert sorted(commands(text)) == sorted([
        ["hideseek", "audit", "a"],
        ["hideseek", "audit", "paper"],
        ["make", "demo"],
        ["python", "train.py", "-m", "roi=original", "seed=0,1"],
        ["python", "train.py", "-m", "roi=silhouette"],
    ])  # fmt: skip


@pytest.mark.parametrize(
    "typed",
    [
        "make dmeo",
        "pip install -e .[timmm]",
        "hideseek audti multirun/x",
        "hideseek audit multirun/x margn=0.1",
        "hideseek selftest seed=1",
        "hideseek prepare data.manifst=FILE.csv",
        "hideseek rerun sweep.yaml data.rot=FOLDER",
        "python train.py -m roi=original,lungs_remove",
        "python train.py model=resnet model.net.name=...",
    ],
)
def test_mistyped_commands_are_caught(typed: str, tmp_path: Path) -> None:
    register()
    with pytest.raises((AssertionError, ConfigCompositionException, MissingConfigException)):
        check(shlex.split(typed), tmp_path)


def test_readme_is_short_and_shows_the_way() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90
    assert text.count("![") == 1
    assert {("make", "demo"), ("make", "test")} <= {tuple(words) for words in commands(text)}
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", text))
    assert linked == {page.name for page in PAGES[1:]} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_links_lead_to_files_of_the_checkout(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text()):
        if not link.startswith("https://"):
            # Pages that the site's hook makes are linked by the file that they are made from.
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "guide", [*(pytest.param(guide, marks=pytest.mark.long) for guide in GUIDES[:3]), GUIDES[3]]
)
def test_guides_run_as_typed(guide: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / f"{guide}.md"
    write_files(page, tmp_path)
    programs = Path(sys.executable).parent
    environment = {**clean_environment(os.environ), "WANDB_MODE": "disabled"}
    del environment["HIDESEEK_CELL"]  # a user's shell starts the commands, not a sweep
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    blocks = re.findall(r"^```bash\n(.*?)^```$", page.read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        ran = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert ran.returncode == 0, f"{block}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"
