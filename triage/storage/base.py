"""What all tables share: naming convention, types of columns, and definitions of common columns and checks."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import ARRAY, TIMESTAMP, CheckConstraint, Double, MetaData, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from triage.domain.ids import new_id

NAMING_CONVENTION: Final = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s__%(column_0_N_name)s",
    "uq": "uq_%(table_name)s__%(column_0_N_name)s",
    "ck": "ck_%(table_name)s__%(constraint_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: TIMESTAMP(timezone=True),
        str: Text(),
        float: Double(),
        list[float]: ARRAY(Double()),
        list[str]: ARRAY(Text()),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
    }


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A check that a column holds one of the values."""
    allowed = ", ".join(f"'{value.value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def key() -> Mapped[UUID]:
    """A primary key with a new UUIDv7."""
    return mapped_column(primary_key=True, default=new_id)


def now() -> Mapped[datetime]:
    """A time set by the clock of the database at insertion."""
    return mapped_column(server_default=func.clock_timestamp())
