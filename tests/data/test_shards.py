from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hideseek.data.shards import Shard, discard, run_shards, texts
from hideseek.errors import UserError

ITEMS, SIZE = 53, 4
CHILD = """
import sys, time
from pathlib import Path
import numpy as np
from hideseek.data.shards import run_shards, texts

def work(part):
    time.sleep({pause})
    squares = np.repeat(np.array(part) ** 2, 40_000).reshape(len(part), -1)
    return {{"square": squares, "name": texts([str(item) for item in part])}}

shards = run_shards(Path(sys.argv[1]), range({items}), {size}, work, lambda count: None)
print("ready", flush=True)
for shard in shards:
    pass
"""


def work(part: Sequence[int]) -> Shard:
    squares = np.repeat(np.array(part) ** 2, 40_000).reshape(len(part), -1)
    return {"square": squares, "name": texts([str(item) for item in part])}


def small(part: Sequence[int]) -> Shard:
    return {
        "file": texts([f"{item}.png" for item in part]),
        "ok": np.array(part) > 3,
        "sum": np.array(sum(part), np.float32),
    }


def refuse(part: Sequence[int]) -> Shard:
    raise AssertionError(f"{part} was computed again")


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    code = CHILD.format(items=ITEMS, size=SIZE, pause=pause)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


def same(ours: Sequence[Shard], theirs: Sequence[Shard]) -> bool:
    return len(ours) == len(theirs) and all(
        list(one) == list(other)
        and all(one[name].dtype == other[name].dtype for name in one)
        and all(np.array_equal(one[name], other[name]) for name in one)
        for one, other in zip(ours, theirs, strict=True)
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_and_progress(tmp_path: Path) -> None:
    done: list[int] = []
    first = list(run_shards(tmp_path / "a" / "b", range(10), 4, small, done.append))
    assert [list(shard["file"]) for shard in first] == [
        ["0.png", "1.png", "2.png", "3.png"],
        ["4.png", "5.png", "6.png", "7.png"],
        ["8.png", "9.png"],
    ]
    again = list(run_shards(tmp_path / "a" / "b", range(10), 4, refuse, done.append))
    assert same(first, again)
    assert done == [4, 4, 2, 4, 4, 2]
    assert sorted(contents(tmp_path / "a" / "b")) == ["00000.npz", "00001.npz", "00002.npz"]
    assert list(run_shards(tmp_path / "none", [], 4, refuse)) == []


def test_numpy_reads_the_files(tmp_path: Path) -> None:
    (shard,) = run_shards(tmp_path, range(4), 4, small)
    with np.load(tmp_path / "00000.npz", allow_pickle=False) as archive:
        for name, array in shard.items():
            np.testing.assert_array_equal(archive[name], array)


def test_another_size_or_number_of_items_is_never_mixed_up(tmp_path: Path) -> None:
    # 130 by 100 and by 30: part 1 holds 30 items in both, though not the same ones.
    for items, size in ((130, 100), (130, 30), (131, 30), (130, 30)):
        shards = list(run_shards(tmp_path, range(items), size, small))
        files = [name for shard in shards for name in shard["file"]]
        assert files == [f"{item}.png" for item in range(items)]


def test_ten_kills(tmp_path: Path) -> None:
    begin = time.perf_counter()
    whole = list(run_shards(tmp_path / "whole", range(ITEMS), SIZE, work))
    usual = time.perf_counter() - begin
    instants = random.Random(0)
    begun = 0
    for number in range(10):
        folder = tmp_path / f"killed{number}"
        child = start(folder, pause=0)
        time.sleep(instants.uniform(0, usual))
        child.send_signal(signal.SIGKILL)
        child.wait()
        before = len(list(folder.glob("*.npz"))) if folder.is_dir() else 0
        begun += 0 < before < len(whole)
        work_again = Mock(side_effect=work)
        assert same(list(run_shards(folder, range(ITEMS), SIZE, work_again)), whole)
        assert work_again.call_count == len(whole) - before
        assert contents(folder) == contents(tmp_path / "whole")
    assert begun > 0


def test_a_kill_inside_every_step_of_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(run_shards(tmp_path / "whole", range(9), 3, small))
    for target, name in ((np.lib.format, "write_array"), (Path, "replace")):
        folder = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(target, name, Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                list(run_shards(folder, range(9), 3, small))
        assert contents(folder) == {}
        assert same(list(run_shards(folder, range(9), 3, small)), whole)


def test_damaged_parts_are_computed_again(tmp_path: Path) -> None:
    whole = list(run_shards(tmp_path, range(4), 4, small))
    path = tmp_path / "00000.npz"
    content = path.read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 7)]
    damaged += [b"<html>", b"\x93NUMPY\x01\x00", content[: len(content) // 2] * 2]
    for version in damaged:
        path.write_bytes(version)
        assert same(list(run_shards(tmp_path, range(4), 4, small)), whole)
        assert path.read_bytes() == content


def test_a_flipped_byte_changes_no_result(tmp_path: Path) -> None:
    whole = list(run_shards(tmp_path, range(4), 4, small))
    path = tmp_path / "00000.npz"
    content = path.read_bytes()
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        (shard,) = run_shards(tmp_path, range(4), 4, small)
        for name in whole[0]:
            np.testing.assert_array_equal(shard[name], whole[0][name])


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    whole = list(run_shards(tmp_path, range(4), 4, small))
    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "00000.npz", trap=trap, __range__=np.array([0, 4]))
    assert same(list(run_shards(tmp_path, range(4), 4, small)), whole)
    with pytest.raises(TypeError, match="array 'a' of type object"):
        list(run_shards(tmp_path / "b", range(4), 4, lambda part: {"a": np.array([None])}))
    assert not (tmp_path / "b").exists()


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_two_processes_at_once(tmp_path: Path) -> None:
    whole = list(run_shards(tmp_path / "whole", range(ITEMS), SIZE, work))
    children = [start(tmp_path / "both", pause=0.005) for _ in range(2)]
    third = list(run_shards(tmp_path / "both", range(ITEMS), SIZE, work))
    assert [child.wait(timeout=60) for child in children] == [0, 0]
    assert same(third, whole)
    assert contents(tmp_path / "both") == contents(tmp_path / "whole")


def test_leftovers_of_the_dead_alone_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    replace = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (seen.append(self.name), replace(self, to))[1]
    )
    list(run_shards(tmp_path, range(4), 4, small))
    (name,) = seen
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    alive = name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
    elsewhere = f".00000-other-{gone.pid}-0.tmp"
    for leftover in (dead, alive, elsewhere, name, "notes.txt"):
        (tmp_path / leftover).write_bytes(b"half")
    list(run_shards(tmp_path, range(4), 4, refuse))
    assert set(contents(tmp_path)) == {"00000.npz", alive, elsewhere, name, "notes.txt"}


def test_discard(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    list(run_shards(folder, range(10), 4, small))
    discard(folder)
    discard(folder)
    assert not folder.exists()
    list(run_shards(folder, range(10), 4, small))
    (folder / "notes.txt").touch()
    discard(folder)
    assert set(contents(folder)) == {"notes.txt"}


def test_a_folder_discarded_meanwhile(tmp_path: Path) -> None:
    shards = run_shards(tmp_path / "a", range(10), 4, small)
    next(shards)
    discard(tmp_path / "a")
    assert [len(shard["file"]) for shard in shards] == [4, 2]


def test_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(UserError, match=r"shards: cannot be written to \(File too large\)"):
            list(run_shards(folder, range(ITEMS), SIZE, work))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(folder) == {}
    assert len(list(run_shards(folder, range(ITEMS), SIZE, work))) == 14


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written to"):
        list(run_shards(tmp_path / "file", range(4), 4, small))


def test_errors_of_the_work_are_its_own(tmp_path: Path) -> None:
    def fails(part: Sequence[int]) -> Shard:
        raise OSError("camera on fire")

    with pytest.raises(OSError, match="camera on fire"):
        list(run_shards(tmp_path, range(4), 4, fails))


every_text = st.text(st.characters(exclude_categories=())).map(lambda text: text.rstrip("\0"))


@given(st.lists(every_text))
def test_text_survives(values: list[str]) -> None:
    assert texts(values).tolist() == values


@pytest.mark.parametrize(
    "values", [[], [""], ["", ""], ["é" * 5000, "肺"], ["a\0b", " x "], ["\udcff.png", "😷"]]
)
def test_text_survives_on_disk(values: list[str], tmp_path: Path) -> None:
    for work_or_fail in (lambda part: {"text": texts(values)}, refuse):
        (shard,) = run_shards(tmp_path, [0], 1, work_or_fail)
        assert shard["text"].tolist() == values


def test_trailing_nul_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'PA\\x00' ends in NUL"):
        texts(["AP", "PA\0"])
