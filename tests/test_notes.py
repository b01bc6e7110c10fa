"""Notes are gathered once each, and are warnings elsewhere."""

import warnings

import pytest

from weightgraft.notes import Note, gathered, note


def test_notes_are_gathered_in_their_order_and_each_once():
    with gathered() as notes:
        for text in ("first", "second", "first"):
            note(text)
    assert notes == ["first", "second"]


def test_outside_a_note_is_a_warning():
    with pytest.warns(Note, match="odd"):
        note("odd")


def test_other_warnings_go_on_and_gathering_leaves_nothing_behind():
    show, filters = warnings.showwarning, list(warnings.filters)
    with pytest.warns(DeprecationWarning, match="old"), gathered() as notes:
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert notes == [] and warnings.showwarning is show and list(warnings.filters) == filters
