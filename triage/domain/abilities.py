"""What another system can do for this product."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """Whether a server has an ability. `unknown`: it does not say, or was not asked."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Ability:
    """An ability of a server.

    Attributes:
        is_needed: the settings rely on it.
        detail: what the server says of it, in words of this product.
        remedy: what to do without it.
    """

    name: str
    support: Support
    is_needed: bool = False
    detail: str = ""
    remedy: str = ""

    @property
    def is_lacking(self) -> bool:
        return self.is_needed and self.support is Support.NO


@dataclass(frozen=True, slots=True)
class Survey:
    """Abilities of a server, and the settings that fit it, by variable."""

    url: str
    abilities: Sequence[Ability]
    fitting: Mapping[str, str]

    @property
    def is_sufficient(self) -> bool:
        """Whether nothing is lacking that the settings rely on."""
        return not any(each.is_lacking for each in self.abilities)
