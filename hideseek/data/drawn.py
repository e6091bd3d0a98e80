"""Phantoms, drawn and cached when first asked for: a data set on any machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hideseek.data import phantom
from hideseek.data.source import ManifestSource, Prepared
from hideseek.progress import progress


@dataclass(frozen=True)
class PhantomSource:
    """Synthetic radiographs with a known truth.

    Attributes:
        phantom: what is drawn.
        source: how it is read back; its manifest and root are set from the drawing.
    """

    phantom: phantom.PhantomRecipe
    source: ManifestSource

    def ready(self, image_size: int) -> Path:
        """Draw, cache at exactly the wanted size, and return the cache."""
        return self._drawn(image_size).ready(image_size)

    def prepare(self) -> Prepared:
        """Draw and cache at the configured size."""
        return self.list_files().prepare()

    def list_files(self) -> ManifestSource:
        """Draw, unless that was done before, and return the source that reads it back."""
        return self._drawn(self.source.size)

    def _drawn(self, image_size: int) -> ManifestSource:
        name = f"{self.source.name}-{phantom.recipe_hash(self.phantom)}"
        target = Path(self.source.folder) / name
        manifest = target / "manifest.csv"
        if not manifest.is_file():
            bar, advance = progress("phantom", self.phantom.images)
            with bar:
                phantom.write(self.phantom, target, advance)
        return replace(
            self.source,
            name=name,
            manifest=str(manifest),
            root=str(target),
            size=image_size,
            build=True,
        )
