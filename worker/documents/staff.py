"""Accounts of the staff console."""

from typing import Self
from uuid import UUID

from triage.domain.staff import Role, StaffMember
from worker.documents.document import Document, UtcTime


class StaffDocument(Document):
    """An account of the staff console. `issuer` is its identity provider, null for an account with a password."""

    name: str
    id: UUID
    role: Role
    issuer: str | None
    created_at: UtcTime
    disabled_at: UtcTime | None

    @classmethod
    def of(cls, member: StaffMember) -> Self:
        return cls(
            name=member.name,
            id=member.id,
            role=member.role,
            issuer=member.issuer,
            created_at=member.created_at,
            disabled_at=member.disabled_at,
        )
