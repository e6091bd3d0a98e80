"""What becomes of a mask between the segmenter (or the manifest) and the cache."""

from __future__ import annotations

from dataclasses import dataclass

from hideseek.errors import UserError

POLICIES = ("keep", "exclude", "whole_image")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class MaskRules:
    """Choices about masks; the defaults are the paper's where it has one.

    Attributes:
        components: how many of the largest components are kept (paper: two).
        fill_holes: whether what a component encloses becomes lung.
        least_area: share of the image; smaller components are no lung.
        mirrored: whether the segmenter sees each image a second time, mirrored, and the two are
            averaged; what they disagree on tells how far the mask can be trusted.
        precision: of the segmenter: "float32", or "bfloat16", which is faster where the
            processor has it and moves the outline by a pixel here and there.
        policy: what becomes of an image whose mask is empty or implausible: "keep" it as it is,
            "exclude" it, or let its "whole_image" count as lung.
    """

    components: int = 2
    fill_holes: bool = False
    least_area: float = 0.0
    mirrored: bool = True
    precision: str = "float32"
    policy: str = "keep"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.policy not in POLICIES:
            raise UserError(
                f"data.masks.policy={self.policy} is unknown; known are {', '.join(POLICIES)}"
            )
        if self.precision not in PRECISIONS:
            known = " and ".join(PRECISIONS)
            raise UserError(f"data.masks.precision={self.precision} is unknown; known are {known}")
        if self.components < 1 or not 0 <= self.least_area < 1:
            raise UserError("data.masks: components is at least 1, least_area a share below 1")
