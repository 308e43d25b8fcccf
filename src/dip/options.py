"""Options: a constructor's annotations are the type and the bounds of its options, and this module checks them.

A string in an annotation is a hint, which ends the message: `Annotated[int, Ge(1), "1 is a plain convolution"]`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from inspect import signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dip.errors import UserError

T = TypeVar("T", bound=type)
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
BOUNDS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}


def options_of(part: Callable[..., Any]) -> dict[str, Any]:
    """The annotation of each parameter of a function, or of a class's constructor."""
    function = part.__init__ if isinstance(part, type) else part
    return {name: hint for name, hint in get_type_hints(function, include_extras=True).items() if name != "return"}


def check_options(options: Mapping[str, Any], values: Mapping[str, Any], group: str = "") -> None:
    """Raise UserError for the first value that its annotation does not allow; `group` comes before its name."""
    for name, value in values.items():
        if name in options and not allows(options[name], value):
            key = f"{group}.{name}" if group else name
            rule = "; ".join([described(options[name]), *hints(options[name])])
            raise UserError(f"{key}={written(value)}, but it must be {rule}")


def checked(cls: T) -> T:
    """Check the options of a class in its constructor too, for whoever builds it in Python."""
    init, parameters = cls.__init__, signature(cls.__init__)

    @wraps(init)
    def check_and_init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = parameters.bind(self, *args, **kwargs).arguments
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if isinstance(value, bool | int | float | str | list | tuple)
        }
        check_options(options_of(cls), plain)
        init(self, *args, **kwargs)

    cls.__init__ = check_and_init
    return cls


def allows(annotation: Any, value: Any) -> bool:
    """Whether a value has the type and is within the bounds: a whole number is a float too, but true is no number."""
    try:
        validator(annotation).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@cache
def validator(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def described(annotation: Any) -> str:
    """
    >>> described(Annotated[int, Ge(1)] | None)
    'a whole number, at least 1, or null'
    >>> described(Sequence[int])
    'a list, each a whole number'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        found = [(BOUNDS[type(bound)], bound) for bound in arguments[1:] if type(bound) in BOUNDS]
        bounds = " and ".join(f"{words} {getattr(bound, name)}" for (name, words), bound in found)
        return f"{described(arguments[0])}, {bounds}" if bounds else described(arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        each = [described(argument) for argument in arguments]
        return (", or " if any("," in words for words in each) else " or ").join(each)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {described(arguments[0])}"
    return NAMES.get(annotation, "anything")


def hints(annotation: Any) -> list[str]:
    """The strings in an annotation, but for the choices themselves."""
    if get_origin(annotation) is Literal:
        return []
    return [text for part in get_args(annotation) for text in ([part] if isinstance(part, str) else hints(part))]


def written(value: Any) -> str:
    """A value as it is given on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(written, value))}]" if isinstance(value, list | tuple) else str(value)
