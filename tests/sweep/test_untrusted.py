from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hideseek.errors import UserError
from hideseek.sweep.untrusted import read_yaml

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!!python/object/apply:os.system ['touch /tmp/x']", "line 1"),
        ("a: !!python/name:os.system", "line 1"),
        (LAUGHS, "alias"),
        ("a: 1\n<<: {b: 2}", "line 2 has an alias"),
        ("- a\n" * 500_001, "more than 500000"),
        ("[" * 5000, "nest"),
        ("[" * 30 + "]" * 30, "deep"),
        ("- " * 5000, "nest"),
        ("a: 1:" + ":".join(["1"] * 20_000), "longer"),
        ("a: " + "1" * 9_000, "cannot be read"),
        ("a: [1", "line 2"),
        ("a: 2001-99-99", "cannot be read"),
        ("a: \x00", "cannot be read"),
        ("? {a: 1}\n: 2", "cannot be read"),
    ],
)
def test_hostile_yaml_is_one_line(text, why):
    with pytest.raises(UserError, match=why) as caught:
        read_yaml(text, "/a/sweep.yaml")
    assert str(caught.value).startswith("/a/sweep.yaml: ")
    assert str(caught.value).isprintable()


def test_plain_yaml_is_read():
    assert read_yaml("a: {b: [1, 2.5, null, x]}\n", "f") == {"a": {"b": [1, 2.5, None, "x"]}}


@given(st.text() | st.text(st.sampled_from("ab:-[]{}&*!|>'\"\n 1#%@?,"), max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused(text):
    try:
        read_yaml(text, "f")
    except UserError as error:
        assert "\n" not in str(error)
