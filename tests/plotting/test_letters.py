"""The letters of figures: matplotlib's own, whatever fonts a machine has."""

import shutil
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties, fontManager, ttfFontProperty

from weightgraft.style import RC

OWN = Path(matplotlib.get_data_path())


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_letters_are_matplotlibs_own_where_another_font_has_their_name(tmp_path, monkeypatch, weight):
    """As on a machine with the package of its distribution, whose glyphs have other numbers and outlines."""
    name = "DejaVuSans-Bold.ttf" if weight == "bold" else "DejaVuSans.ttf"
    another = Path(shutil.copy(OWN / "fonts/ttf" / name, tmp_path))
    entry = ttfFontProperty(font_manager.get_font(another))
    monkeypatch.setattr(fontManager, "ttflist", [entry, *fontManager.ttflist])
    fontManager._findfont_cached.cache_clear()
    try:
        with matplotlib.rc_context(RC):
            found = Path(fontManager.findfont(FontProperties(weight=weight), fallback_to_default=False))
            other = Path(fontManager.findfont(FontProperties(family="DejaVu Sans", weight=weight)))
    finally:
        fontManager._findfont_cached.cache_clear()
    assert found == OWN / "fonts/ttf" / name and other == another
