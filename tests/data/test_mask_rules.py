from __future__ import annotations

import pytest

from hideseek.data.mask_rules import POLICIES, MaskRules
from hideseek.errors import UserError


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "drop"}, "policy=drop is unknown; known are keep, exclude, whole_image"),
        ({"precision": "int8"}, "precision=int8 is unknown"),
        ({"components": 0}, "components is at least 1"),
        ({"least_area": 1.0}, "a share below 1"),
    ],
)
def test_refusals(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MaskRules(**change)  # type: ignore[arg-type]


def test_every_policy_is_accepted() -> None:
    assert [MaskRules(policy=policy).policy for policy in POLICIES] == list(POLICIES)
