"""The boundary of use cases: wrong arguments and failing statements become errors of this product."""

from collections.abc import Callable
from functools import cache, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

from triage.errors import UsageError, validation_problems
from triage.storage.database import database_errors

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def use_case(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Declares a function or method that interfaces call as a use case.

    Before it runs, its arguments must have the types of its annotations, without conversion. While it runs, errors of
    the database are translated, see `database_errors`. A generator checks its arguments on the call, and translates
    nothing.

    Raises:
        UsageError: an argument has a wrong type or is nested too deeply. The error names the argument and omits its
            value.
    """
    parameters = signature(function)

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        _check(function, parameters.bind(*args, **kwargs).arguments)
        try:
            with database_errors():
                return function(*args, **kwargs)
        except RecursionError:
            raise UsageError("invalid arguments: a value is nested too deeply") from None

    return call


def _check(function: Callable[..., object], arguments: dict[str, object]) -> None:
    try:
        _checked(function)(**arguments)
    except ValidationError as error:
        raise UsageError(f"invalid arguments: {validation_problems(error)}") from None  # its cause would show values


@cache
def _checked(function: Callable[..., object]) -> Callable[..., None]:
    """A function with the same parameters that checks their types and does nothing else."""

    @validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
    @wraps(function)
    def check(*_: Any, **__: Any) -> None:
        pass

    return check
