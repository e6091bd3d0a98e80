from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from hideseek.config import config_folder, register
from hideseek.data import source as source_module
from hideseek.data.cache import Cache
from hideseek.data.command import command
from hideseek.data.drawn import PhantomSource
from hideseek.data.phantom import PhantomRecipe
from hideseek.data.source import ManifestSource
from hideseek.errors import UserError

CLASSES = ("normal", "pneumonia", "covid19")
Folder = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ManifestSource]:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"some weights")
    monkeypatch.chdir(tmp_path)

    def source(**changes: object) -> ManifestSource:
        settings: dict[str, object] = {
            **{"name": "manifest", "manifest": "raw/manifest.csv", "root": None, "splits": "auto"},
            **{"cache": None, "task": "classify", "classes": CLASSES, "size": 48},
            **{"preprocess": "paper", "segmenter": str(weights), "split_seed": 0},
            **{"windowing": "minmax", "folds": None, "fold": 0, "duplicates": 0.985},
            **{"strict": False, "folder": "cache"},
        }
        return ManifestSource(**{**settings, **changes})

    return source


Make = Callable[..., ManifestSource]


def splits_of(source: ManifestSource) -> list[str]:
    survey = source.prepare().survey
    assert survey is not None
    return survey.rows.get_column("split").to_list()


def refused(source: ManifestSource, image_size: int = 48) -> str:
    with pytest.raises(UserError) as caught:
        source.ready(image_size)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_prepare_then_ready(image_folder: Folder, make: Make, tmp_path: Path) -> None:
    image_folder()
    prepared = make().prepare()
    path = prepared.cache
    assert prepared.fresh
    assert len(Cache(path)) == 12
    assert path.parent == Path("cache")
    assert make().ready(48) == make().ready(32) == path
    manifest = pl.read_csv(path.with_suffix(".manifest.csv"), infer_schema=False)
    assert manifest.get_column("split").to_list() == Cache(path).table["split"].to_list()
    problems = pl.read_csv(path.with_suffix(".problems.csv"), infer_schema=False)
    assert set(problems["kind"]) <= {"small", "unlike", "upside_down"}  # it is a drawing
    folders = [entry for entry in (tmp_path / "cache").iterdir() if entry.is_dir()]
    assert {folder.name.split("-")[0] for folder in folders} == {"inspection", "manifest"}
    assert len(list((tmp_path / "cache").iterdir())) == 5 + len(folders)


def test_second_prepare_does_no_work(
    image_folder: Folder, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder()
    path = make().prepare().cache
    before = path.stat().st_mtime_ns
    monkeypatch.delattr(source_module, "build_cache")
    again = make().prepare()
    assert (again.cache, again.fresh) == (path, False)
    assert path.stat().st_mtime_ns == before


def test_missing_cache_names_the_command(image_folder: Folder, make: Make) -> None:
    image_folder()
    message = refused(make(size=224), 96)
    assert "no cache of 96 px or more for raw/manifest.csv, whose files were not insp" in message
    assert "hideseek prepare data=manifest data.manifest=raw/manifest.csv" in message
    assert "data.size" not in message
    assert "data.size=300" in refused(make(size=224), 300)


def test_cache_that_does_not_exist_names_the_command(make: Make) -> None:
    message = refused(make(cache="gone.h5"))
    assert "data.cache=gone.h5 does not exist" in message
    assert "hideseek prepare data=manifest data.manifest=raw/manifest.csv" in message


def test_given_cache_is_taken_as_it_is(make: Make, small_cache: Folder) -> None:
    path = small_cache()
    assert make(cache=str(path), manifest=None).ready(48) == path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"root": "raw folder", "splits": "raw/s.csv"},
        {"splits": None, "preprocess": "letterbox", "split_seed": 3, "size": 100},
        {"classes": ("a", "b"), "name": "own"},
        {"task": "segment", "name": "lungs", "preprocess": "letterbox", "size": 256, "classes": ()},
        {"task": "segment", "name": "lungs", "preprocess": "paper", "size": 512},
    ],
)
def test_the_named_command_builds_what_was_missing(make: Make, changes: dict[str, object]) -> None:
    wanted = make(**{"size": 224, **changes})
    words = shlex.split(command(wanted, 64))
    assert words[:2] == ["hideseek", "prepare"]
    register()
    with initialize_config_dir(str(config_folder().resolve()), version_base=None):
        config = compose("prepare", overrides=[*words[2:], "paths.cache=cache"])
    built: ManifestSource = instantiate(config.data, _convert_="all")
    assert {**built.__dict__, "classes": tuple(built.classes), "build": False} == wanted.__dict__


def test_larger_cache_serves_smaller_images(image_folder: Folder, make: Make) -> None:
    image_folder()
    large = make(size=64).prepare().cache
    largest = make(size=96).prepare().cache
    assert make(size=48).ready(48) == large
    assert make(size=48).ready(65) == largest
    assert "no cache of 97 px or more for raw/manifest.csv in cache/;" in refused(make(size=48), 97)
    assert make(size=96).ready(48) == large


def test_changed_data_or_settings_need_another_cache(image_folder: Folder, make: Make) -> None:
    root = image_folder()
    make().prepare()
    for change in ({"preprocess": "letterbox"}, {"split_seed": 1}, {"name": "own"}):
        assert "no cache" in refused(make(**change))
    Path("other.pt").write_bytes(b"other weights")
    assert "no cache" in refused(make(segmenter="other.pt"))
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("hospital1", "clinic"))
    assert "no cache" in refused(make())


def test_splits_beside_the_manifest_are_picked_up(image_folder: Folder, make: Make) -> None:
    root = image_folder(splits=False)
    with pytest.raises(UserError, match="too few"):
        make(splits=None, inspect=False).prepare()
    turn = ("test", "val", "train")
    lines = [f"{number}.png,{turn[number % 3]}" for number in range(12)]
    (root / "splits.csv").write_text("\n".join(["image,split", *lines]))
    assert splits_of(make()) == list(turn) * 4
    (root / "splits.csv").rename(root / "own.csv")
    assert splits_of(make(splits=str(root / "own.csv"))) == list(turn) * 4
    with pytest.raises(UserError, match=r"absent\.csv: no such file"):
        make(splits="absent.csv").prepare()


def test_root_may_lie_elsewhere(image_folder: Folder, make: Make, tmp_path: Path) -> None:
    root = image_folder()
    (root / "manifest.csv").rename(tmp_path / "list.csv")
    prepared = make(manifest="list.csv", root="raw").prepare()
    assert len(Cache(prepared.cache)) == 12


def test_build_without_being_asked(image_folder: Folder, make: Make) -> None:
    image_folder()
    path = make(build=True).ready(48)
    assert Cache(path).recipe.size == 48
    assert make(build=False).ready(48) == path


def test_segment_takes_rows_with_masks_and_no_weights(image_folder: Folder, make: Make) -> None:
    image_folder()
    path = make(task="segment", segmenter="absent.pt").prepare().cache
    assert Cache(path).recipe.segmenter_hash == ""
    with pytest.raises(UserError, match=r"absent\.pt: no such checkpoint"):
        make(segmenter="absent.pt").prepare()


def test_manifest_not_set(make: Make) -> None:
    assert "data.manifest is not set" in refused(make(manifest=None))


def test_replaced_and_added_files_need_another_cache(image_folder: Folder, make: Make) -> None:
    root = image_folder()
    name = pl.read_csv(root / "manifest.csv", infer_schema=False).item(0, "path")
    kept = (root / name).read_bytes()
    (root / name).unlink()
    path = make().prepare().cache
    assert len(Cache(path)) == 11
    (root / name).write_bytes(kept)
    assert "no cache" in refused(make())
    again = make().prepare().cache
    assert again != path and len(Cache(again)) == 12


def test_another_root_is_other_data(image_folder: Folder, make: Make, tmp_path: Path) -> None:
    root = image_folder()
    make().prepare()
    (tmp_path / "elsewhere").mkdir()
    assert "no cache" in refused(make(root="elsewhere"))
    assert make(root=str(root)).ready(48)


def test_the_manifests_own_split_goes_before_a_file_beside_it(
    image_folder: Folder, make: Make
) -> None:
    root = image_folder()
    manifest = pl.read_csv(root / "manifest.csv", infer_schema=False)
    turned = manifest.select("path", pl.lit("train").alias("split"))
    turned.write_csv(root / "splits.csv")
    assert splits_of(make()) == manifest["split"].to_list()


def test_each_phantom_has_its_own_cache(make: Make) -> None:
    paths = []
    for carriers, strength in ((("opacity",), 1.0), (("marker",), 1.0), (("opacity",), 0.5)):
        recipe = PhantomRecipe(carriers=carriers, strength=strength, size=64, images=60)
        source = PhantomSource(recipe, make(name="phantom", splits=None, build=True, inspect=False))
        paths.append(source.ready(32))
        assert source.ready(32) == paths[-1]
    assert len(set(paths)) == 3
    pixels = {b"".join(Cache(path)[row][0].tobytes() for row in range(60)) for path in paths}
    assert len(pixels) == 3


def test_strict_stops_at_a_warning_and_says_where(image_folder: Folder, make: Make) -> None:
    root = image_folder()
    (root / "3.png").write_text("<html>")
    with pytest.raises(UserError, match=r"strict=true: .*1 no_image.*problems\.csv"):
        make(strict=True).prepare()
    assert not list(Path("cache").glob("*.h5"))
    assert len(Cache(make().prepare().cache)) == 11


def test_folds_test_every_image_once(image_folder: Folder, make: Make) -> None:
    root = image_folder(images=48, splits=False)
    tested = []
    for fold in range(3):
        table = Cache(make(splits=None, folds=3, fold=fold).prepare().cache).table
        tested += table.filter(pl.col("split") == "test")["image_id"].to_list()
        assert set(table["split"]) == {"train", "val", "test"}
    assert sorted(tested) == sorted(pl.read_csv(root / "manifest.csv")["path"])


def test_mutated_manifests_end_in_one_line_or_a_whole_cache(
    image_folder: Folder, make: Make, tmp_path: Path
) -> None:
    root = image_folder(images=12, shape=(40, 40))
    original = (root / "manifest.csv").read_bytes()
    outcomes = set()
    for seed in range(200):
        (root / "manifest.csv").write_bytes(mutated(original, seed))
        source = make(splits=None, size=32, folder=f"cache{seed}")
        try:
            cache = Cache(source.prepare().cache)
        except UserError as error:
            assert "\n" not in str(error)
            assert not list(Path(f"cache{seed}").glob("*.h5"))
            outcomes.add("refused")
        else:
            assert 0 < len(cache) <= 13
            outcomes.add("used")
        outside = {"raw", "weights.pt", *(f"cache{number}" for number in range(seed + 1))}
        assert {entry.name for entry in tmp_path.iterdir()} <= outside
    assert outcomes == {"refused", "used"}


def mutated(content: bytes, seed: int) -> bytes:
    """Flip, cut, repeat or replace something."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    words = [b"../" * 9, b"/etc/passwd", b"\xff\xfe\x00", b'"', b",,,", b"\n", b"\r", b"=1+1",
             "Größe 胸.png".encode(), b"nan", b"test", b"x" * 70_000]  # fmt: skip
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(data)))
        match int(rng.integers(0, 5)):
            case 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del data[at : at + int(rng.integers(1, 60))]
            case 2:
                data[at:at] = words[int(rng.integers(0, len(words)))]
            case 3:
                data[at:at] = data[at : at + int(rng.integers(1, 200))]
            case 4:
                data = data[: max(at, 1)]
    return bytes(data)


def test_files_of_another_folder_or_another_time_are_read_anew(
    image_folder: Folder, make: Make, tmp_path: Path
) -> None:
    root = image_folder(images=12)
    first = make().prepare().cache
    other = tmp_path / "other"
    root.rename(other)
    for number in range(12):  # the same names and sizes, other pixels
        path = other / f"{number}.png"
        content = bytearray(path.read_bytes())
        path.write_bytes(bytes(content[:100]) + bytes(len(content) - 100))
    with pytest.raises(UserError, match="none of the 12 images can be used: 12 "):
        make(manifest="other/manifest.csv").prepare()
    other.rename(root)
    with pytest.raises(UserError, match="none of the 12 images"):
        make().prepare()
    assert first.is_file()


def test_what_a_kill_leaves_out_is_made_again(image_folder: Folder, make: Make) -> None:
    image_folder(images=12)
    path = make().prepare().cache
    for suffix in (".masks.csv", ".built.csv", ".manifest.csv"):
        # The cache is renamed last: without it, everything beside it is made again.
        path.with_suffix(suffix).unlink()
        path.unlink()
        assert make().prepare().cache == path
        assert path.with_suffix(suffix).is_file()


def test_a_second_run_tells_the_same_problems(image_folder: Folder, make: Make) -> None:
    root = image_folder(images=12)
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("3_mask.png", "3.png"))
    first, again = make().prepare(), make().prepare()
    assert first.problems == again.problems
    assert "implausible_mask" in {problem.kind for problem in again.problems}
    with pytest.raises(UserError, match=r"strict=true: .*implausible_mask"):
        make(strict=True, inspect=False).prepare()


def test_splits_without_a_test_set_are_refused_at_once(image_folder: Folder, make: Make) -> None:
    root = image_folder()
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("test", "train"))
    with pytest.raises(UserError, match="no image is in the split 'test'"):
        make().prepare()
    assert not Path("cache").exists()
    with pytest.raises(UserError, match=r"data\.size=3 is too small"):
        make(size=3)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "", ".hidden", "a b", "x\n", "\\x"])
def test_a_name_that_leads_elsewhere_is_refused(make: Make, name: str) -> None:
    with pytest.raises(UserError, match=r"data\.name="):
        make(name=name)


def test_a_source_is_left_out_without_any_work_on_images(
    image_folder: Folder, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(images=24)
    whole = make().prepare().cache
    monkeypatch.setattr(source_module, "build_cache", None)
    monkeypatch.setattr(source_module, "survey", None)
    path = make(leave_out="hospital0").ready(48)
    assert path != whole and path.parent == Path("cache")
    table = Cache(path).table
    # Of 24 images in rounds of twelve, every other one is of hospital0; 9 to 11 are tests.
    split = dict(table.select("image_id", "split").iter_rows())
    tested = {name for name, part in split.items() if part == "test"}
    assert tested == {f"{number}.png" for number in range(0, 24, 2)}
    kept = {f"{n}.png": "val" if n % 12 == 7 else "train" for n in (1, 3, 5, 7, 13, 15, 17, 19)}
    assert {name: part for name, part in split.items() if part != "test"} == kept
    for ending in (".manifest.csv", ".masks.csv"):
        beside = pl.read_csv(path.with_suffix(ending), infer_schema=False)
        assert dict(beside.select("image_id", "split").iter_rows()) == split
    # The ordinary cache is found as before, and the same one is found again.
    assert make().ready(48) == whole
    assert make(leave_out="hospital0").prepare().cache == path
    assert make(leave_out="hospital0", cache=str(whole)).ready(48) == path
    assert make(leave_out="hospital1").ready(48) not in (path, whole)


def test_a_source_that_cannot_be_left_out_is_refused(image_folder: Folder, make: Make) -> None:
    root = image_folder(images=24)
    make().prepare()
    assert "there are hospital0, hospital1" in refused(make(leave_out="hospital7"))
    manifest = root / "manifest.csv"
    table = pl.read_csv(manifest, infer_schema=False)
    covid = pl.when(pl.col("label") == "covid19").then(pl.lit("cohen"))
    table.with_columns(source=covid.otherwise("source")).write_csv(manifest)
    make().prepare()
    assert "no other source has training images of covid19" in refused(make(leave_out="cohen"))
    assert make(leave_out="hospital0").ready(48).is_file()


def test_without_an_ordinary_cache_its_command_is_named(image_folder: Folder, make: Make) -> None:
    image_folder()
    message = refused(make(leave_out="hospital0"))
    assert "build it with: hideseek prepare" in message and "leave_out" not in message


def test_a_source_of_numbers_is_a_name(image_folder: Folder, make: Make) -> None:
    root = image_folder(images=24)
    manifest = root / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("hospital0", "2020"))
    make().prepare()
    # As YAML reads it.
    assert Cache(make(leave_out=2020).ready(48)).table["source"].to_list().count("2020") == 12


def test_a_phantoms_source_can_be_left_out(make: Make) -> None:
    recipe = PhantomRecipe(size=32, images=120, sources=3, carriers=("marker",))
    settings = {"name": "phantom", "splits": None, "build": True, "inspect": False}
    source = PhantomSource(recipe, make(**settings, leave_out="device1"))
    table = Cache(source.ready(32)).table
    parts = table.group_by("split").agg(pl.col("source").unique().sort())
    held = dict(parts.iter_rows())
    assert held["test"] == ["device1"]
    assert held["train"] == held["val"] == ["device0", "device2"]
