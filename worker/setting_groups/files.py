"""What is kept in files: photos, models, and what commands write."""

from pydantic import Field, field_validator

from worker.setting_types import Group, group_number


class BlobSettings(Group):
    url: str | None = Field(
        default=None,
        description=(
            "store of the photos: a folder, or any fsspec URL whose driver is installed; an embedded folder if unset"
        ),
    )


class ModelSettings(Group):
    url: str | None = Field(
        default=None, description="store of model weights, in the same form; every worker needs the same store"
    )


class FileSettings(Group):
    group: str | None = Field(
        default=None,
        description=(
            "name or number of a group that can use all files of the product; only their owner can if unset, "
            "see [install.md](install.md#users-and-permissions)"
        ),
    )

    @property
    def group_id(self) -> int | None:
        return None if self.group is None else group_number(self.group)

    @field_validator("group")
    @classmethod
    def _check_group(cls, group: str | None) -> str | None:
        if group is not None:
            group_number(group)
        return group
