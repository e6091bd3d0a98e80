from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hideseek.config import config_folder
from hideseek.errors import UserError
from hideseek.sweep import trust
from hideseek.sweep.trust import is_local, key_of, masked, safe_overrides

PLAIN = [
    "model=tiny",
    "roi=lungs_removed",
    "data=covidx",
    "data/source=[nih,cohen]",
    "experiment=demo",
    "trainer=cpu",
    "seed=3",
    "+trainer.max_time=null",
    "++model.net.width=8",
    "learning_rate=1e-4",
    "class_weights=[1.0,1,4]",
    "task.classes=[normal,'covid 19']",
    "data.strict=true",
    "data.root=/data/a b/c",
    "data.root='it\\'s'",
    "data.masks={policy: exclude, components: 2}",
    "data.readers.folders.classes={COVID-19: covid19}",
    "weights=",
]


def test_choices_and_plain_values_stay_as_they_are():
    assert safe_overrides(PLAIN, "here") == PLAIN


@pytest.mark.parametrize(
    "override",
    [
        "paths.multirun=/home/a",
        "paths=default",
        "logger=wandb",
        "logger.project=x",
        "~logger",
        "logger._target_=os.system",
        "sweep=${oc.env:HOME}",
        "hydra.mode=RUN",
        "hydra/launcher=slurm",
        "hydra.searchpath=[file:///tmp]",
        "+hydra.job.env_set.A=b",
        "workers=4",
        "resume=false",
        "data.folder=/scratch",
        "data.cache=/x.h5",
        "data.source.folder=c",
        "data.export_masks=/etc",
        "+trainer.default_root_dir=/x",
    ],
)
def test_what_is_of_a_machine_is_left_out(override):
    assert is_local(override)
    assert safe_overrides(["seed=1", override], "here") == ["seed=1"]


@pytest.mark.parametrize("override", ["workersx=4", "data.folders=a", "model.logger=1", "seed=1"])
def test_what_only_sounds_local_is_not(override):
    assert not is_local(override)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("model.net._target_=os.system", "_target_"),
        ("+model.net={_target_: os.system}", "_target_"),
        ("model.net={'_target_': os.system}", "_target_"),
        ("+trainer.callbacks=[{a: {_target_: x}}]", "_target_"),
        ("+trainer._partial_=true", "starts with _"),
        ("+model.net={_args_: [a]}", "_args_"),
        ("+model.net={a: [{_convert_: all}]}", "_convert_"),
        ("data.root=${oc.env:HOME}", "interpolation"),
        ("data.root='${oc.env:HOME}'", "interpolation"),
        ("data.root=$\\{oc.env\\:HOME\\}", "interpolation"),
        ("class_weights=[1,'a${b}']", "interpolation"),
        ("data.masks={policy: '${x}'}", "interpolation"),
        ("~model", "deletes"),
        ("~trainer.devices=1", "deletes"),
        ("seed=1,2", "several"),
        ("seed=range(1,9)", "several"),
        ("model=glob(*)", "several"),
        ("lr=interval(0,1)", "several"),
        ("model@data=tiny", "elsewhere"),
        ("model=external", "imports code"),
        ("model='external'", "imports code"),
        ("model=[tiny,external]", "imports code"),
        ("+model=external", "imports code"),
        ("model.net.target=os:system", "names code"),
        ("model.net={target: 'os:system'}", "target"),
        ("model=nobody", "does not have"),
        ("model=../../etc", "no choice"),
        ("data=source/nih", "no choice"),
        ("model={net: {a: 1}}", "no choice"),
        ("model=3", "no choice"),
        ("nosuch/group=x", "does not have"),
        ("--config-dir=/tmp", "cannot be read"),
        ("-m", "cannot be read"),
        ("seed", "cannot be read"),
        (" seed=1", "cannot be read"),
        ("", "cannot be read"),
        ("a=" + "[" * 3000, "cannot be read"),
        ("x$y=1", "odd key"),
        ("data.name=a\x00b", "no text"),
        ("data.name=a\x1b[31mb", "no text"),
        ("data.name=a\ud800b", "no text"),
        ("data.name='a\nb'", "no text"),
        ("data.source={folder: /tmp/x}", "data.source.folder, which is of another machine"),
        ("data={source: {cache: /tmp/x}}", "no choice"),
        ("++data.source={export_masks: x, a: {}}", "export_masks, which is of another machine"),
        ("datamodule.source.folder=/x", "only repeats other settings"),
        ("datamodule.batch_size=4", "only repeats other settings"),
        ("weights=~/w.pt", "weights=... on the command line"),
        ("data.token='***'", "data.token=... on the command line"),
    ],
)
def test_what_could_run_code_or_read_secrets_is_one_line(override, why):
    with pytest.raises(UserError, match=r"^cell a: override ") as caught:
        safe_overrides(["seed=1", override], "cell a")
    assert why in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_what_the_user_gives_replaces_what_is_recorded():
    recorded = ["model=external", "model.net.target=evil:run", "weights=~/w.pt", "+seed=1"]
    given = {"model.net.target", "weights"}
    assert safe_overrides(recorded, "here", given) == ["model=external", "+seed=1"]
    with pytest.raises(UserError, match="imports code"):
        safe_overrides(recorded, "here", {"weights"})
    assert key_of("++seed=a=b") == "seed"
    assert key_of("~a.b") == "a.b"


PIECES = [
    "model", "data", "roi", "net", "root", "weights", "x", "external", "tiny", "target", "_target_",
    "_tar", "get_", "_args_", "os.system", "oc.env:HOME", "${", "$", "\\{", "{", "}", "[", "]", "(",
    ")", "=", "=", "=", ".", "/", "@", ":", ",", "'", '"', "\\", "+", "~", "***", "str", "int", "1",
    "-", " ", "\t", "\n", "\x00", "logger", "hydra", "seed=1", "data.root=", "model.net={",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=20)


@settings(max_examples=1500, deadline=None)
@given(HOSTILE)
@example("data.root=$\\{oc.env\\:HOME\\}")
@example("x={a: '_target_'}")
def test_nothing_that_calls_or_interpolates_ever_comes_through(override):
    try:
        (kept,) = safe_overrides([override], "here") or [None]
    except UserError as error:
        assert "\n" not in str(error)
        return
    if kept is None:
        return
    assert kept == override
    assert "_target_" not in kept
    assert "${" not in kept
    read = OverridesParser.create().parse_override(kept)
    assert not any(part.startswith("_") for part in read.key_or_group.replace("/", ".").split("."))
    for key, text in texts(read.value()):
        assert "${" not in text
        assert not key.startswith("_")
        assert not OmegaConf.is_interpolation(OmegaConf.create({"x": text}), "x")


def texts(value, key=""):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from texts(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, key)
    else:
        yield key, value.text if isinstance(value, QuotedString) else str(value)


def test_every_choice_of_the_tree_but_foreign_code_may_be_recorded():
    groups = ("model", "roi", "data", "task", "augment", "trainer", "experiment", "data/source")
    files = {group: sorted((config_folder() / group).glob("*.yaml")) for group in groups}
    assert all(files.values())
    for group, paths in files.items():
        for path in paths:
            override = f"{group}={path.stem}"
            if override != "model=external":
                assert safe_overrides([override], "here") == [override]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("logger.api_key=abc", "logger.api_key='***'"),
        ("+data.ACCESS_TOKEN='a=b'", "+data.ACCESS_TOKEN='***'"),
        ("logger={api_key: abc}", "logger='***'"),
        ("a=[{password: abc}]", "a='***'"),
        ("model.net.name=keypoint", "model.net.name=keypoint"),
        ("seed=1", "seed=1"),
        ("secret", "secret"),
    ],
)
def test_secrets_in_overrides_are_hidden(override, expected):
    assert masked(override) == expected


def test_secrets_are_hidden_however_deep():
    given = {
        "a": {"API_KEY": "x", "b": [{"password": "y", "c": 1}], "secrets": ["z"]},
        "token": None,
        "hub_token": {"value": "w"},
    }
    assert trust.without_secrets(given) == {
        "a": {"API_KEY": "***", "b": [{"password": "***", "c": 1}], "secrets": "***"},
        "token": None,
        "hub_token": "***",
    }
