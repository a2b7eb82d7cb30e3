"""Results of checks of a deployment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        ok: whether the check passed.
        detail: one line with the state or the problem.
        remedy: how to fix the problem.
        unreachable: whether a service did not respond.
        refused: whether a service refused this process, for example because of a wrong password.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    unreachable: bool = False
    refused: bool = False
