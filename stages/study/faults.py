"""Faults of params.yaml and the like in one line: a section's base class, and pydantic's errors in our words."""

import difflib
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Tag, ValidationError

from weightgraft.errors import UserError


class Section(BaseModel):
    """A part of params.yaml, or of another file that a user writes: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def choices(value: object, valid: Iterable[str]) -> str:
    """The valid choices, the nearest first."""
    valid = [str(name) for name in valid]
    near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"valid: {', '.join(valid)}"


def section_at(kind: Any, loc: tuple) -> type[Section] | None:
    """The section class at a location inside params, through dicts, lists and optional values."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        tags = [
            note.tag for note in notes if isinstance(note, Tag)
        ]  # of the arms of a union, where it has any
        return section_at(inner, loc[len(tags) :]) if tags == [*loc[: len(tags)]] else None
    if get_origin(kind) in (Union, UnionType):
        return next((found for arm in get_args(kind) if (found := section_at(arm, loc))), None)
    if isinstance(kind, type) and issubclass(kind, Section):
        return section_at(kind.model_fields[loc[0]].annotation, loc[1:]) if loc else kind
    if get_origin(kind) in (dict, list) and loc:
        return section_at(get_args(kind)[-1], loc[1:])
    return None


def explain(error: ValidationError, model: type[Section], prefix: tuple = ()) -> str:
    """The first fault in one line: the key, the value and the valid choices."""
    # A misspelt key is two faults, one unknown and one missing: the unknown one says what to mend.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    loc, value = fault["loc"], fault["input"]
    # "[key]" and the arms of a union, such as list[str], are pydantic's own.
    where = ".".join(str(part) for part in prefix + loc if "[" not in str(part)) or "params.yaml"
    if fault["type"] == "extra_forbidden":
        section = section_at(model, loc[:-1])
        return f"unknown key {where!r}; {choices(loc[-1], section.model_fields if section else ())}"
    if fault["type"] == "missing":
        return f"missing key {where!r}"
    if fault["type"] == "literal_error":
        valid = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{where} is {value!r}; {choices(value, valid)}"
    return f"{where} is {value!r}: {fault['msg']}"


def parsed(model: type[Section], values: Any, prefix: tuple = ()) -> Any:
    """Validate one section.

    Raises:
        UserError: the first fault, in one line.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, prefix)) from error
