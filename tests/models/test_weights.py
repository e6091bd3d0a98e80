from __future__ import annotations

import collections

import pytest
import torch
from torch import nn

from hideseek.errors import UserError
from hideseek.models.weights import fit_state, load_state


def network(classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes))


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_reads_bare_and_wrapped(tmp_path, key):
    state = network().state_dict()
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "w.pth")
    loaded = load_state(str(tmp_path / "w.pth"))
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[k], state[k]) for k in state)


def test_takes_the_data_parallel_prefix_off(tmp_path):
    torch.save({f"module.{k}": v for k, v in network().state_dict().items()}, tmp_path / "w.pth")
    fit_state(network(), load_state(tmp_path / "w.pth"), "w.pth")


def test_a_layer_called_module_among_others_keeps_its_name(tmp_path):
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.pth")
    assert set(load_state(tmp_path / "w.pth")) == {"module.a", "b"}


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError) as error:
            load_state(path)
        assert "no such file" in one_line(error)
        assert str(path) in str(error.value)


def test_damaged_files(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(network().state_dict(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:10], b"", b"<html>404</html>", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            load_state(path)
        assert "not a whole PyTorch weights file" in one_line(error)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_never_runs_code(tmp_path, capsys):
    for content in (Evil(), {"state_dict": {"a": torch.ones(1)}, "extra": Evil()}, nn.Linear(1, 1)):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(UserError) as error:
            load_state(tmp_path / "w.pth")
        assert "other objects than tensors" in one_line(error)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [torch.ones(2), {}, {"epoch": 3}, {1: torch.ones(1)}, [1]])
def test_no_state_dict_inside(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError) as error:
        load_state(tmp_path / "w.pth")
    assert "no state dict" in one_line(error)


def test_fit_names_each_kind_of_difference():
    state = network().state_dict()
    del state["0.weight"]
    state["9.weight"] = torch.ones(1)
    state["2.weight"] = torch.ones(5, 4)
    with pytest.raises(UserError) as error:
        fit_state(network(), state, "some.pth")
    message = one_line(error)
    assert "some.pth" in message
    assert "1 missing, such as 0.weight" in message
    assert "1 unknown, such as 9.weight" in message
    assert "1 of another shape, such as 2.weight [5, 4] for [3, 4]" in message


def test_old_files_without_batch_counters_fit():
    state = collections.OrderedDict(network().state_dict())
    del state["1.num_batches_tracked"]
    fit_state(network(), dict(state), "old.pth")


@pytest.mark.parametrize(("classes", "dropped"), [(3, True), (1000, False)])
def test_thousand_class_head_is_dropped_only_for_other_class_counts(classes, dropped):
    state, target = network(1000).state_dict(), network(classes)
    own = target[2].weight.detach().clone()
    fit_state(target, state, "w.pth", head="2")
    assert torch.equal(target[0].weight, state["0.weight"])
    assert torch.equal(target[2].weight, own if dropped else state["2.weight"])


def test_head_of_another_count_is_an_error_and_never_dropped():
    with pytest.raises(UserError, match=r"2\.weight \[7, 4\] for \[3, 4\]"):
        fit_state(network(3), network(7).state_dict(), "w.pth", head="2")
