"""The progress of a rescoring run, as stored with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self
from uuid import UUID

from pydantic import TypeAdapter

from triage.domain.runs import Run


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Attributes:
        total: attachments that lacked a verdict when the run began.
        scored: verdicts written.
        failed: attachments of this pass that could not be scored.
        chunks: chunks that workers have taken and not recorded yet: photos by chunk id.
        lost: attachments of this pass that were released without a result.
        found_any: whether this pass has taken any attachment; true if an older release did not record it.
        seconds_left: estimate from the mean pace; None until a photo is scored.
        after: the cursor: the last attachment id that was looked at.
        passes: passes that have begun.
        scored_before: `scored` when this pass began.
        empty_passes: consecutive passes before this one that wrote no verdict.
        withdrawn: open retake requests withdrawn because their message now passes.
        good_to_bad, bad_to_good: photos whose verdict differs from that of the inbox.
    """

    total: int = 0
    scored: int = 0
    failed: int = 0
    chunks: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0
    found_any: bool = True
    seconds_left: float | None = None
    after: str | None = None
    passes: int = 1
    scored_before: int = 0
    empty_passes: int = 0
    withdrawn: int = 0
    good_to_bad: int = 0
    bad_to_good: int = 0

    @classmethod
    def of(cls, run: Run) -> Self:
        """Reads the stored progress. Unknown fields are ignored, since workers of a newer release may share the run.

        Malformed progress counts as none: the run begins again, and skips the photos that have a verdict.
        """
        known = {each.name for each in fields(cls)}
        try:
            stored = TypeAdapter(cls).validate_python({k: value for k, value in run.progress.items() if k in known})
            UUID(stored.after or str(run.id))
        except ValueError:
            return cls()
        return stored

    @property
    def in_flight(self) -> int:
        """Photos in chunks that are not recorded yet."""
        return sum(self.chunks.values())

    @property
    def empty_passes_now(self) -> int:
        """Consecutive passes without a verdict, including this one."""
        return self.empty_passes + 1 if self.scored == self.scored_before else 0

    def with_chunk(self, chunk_id: UUID, size: int, *, up_to: UUID) -> Self:
        """Moves the cursor to `up_to` and adds a chunk of `size` photos, which may be 0."""
        taken = {str(chunk_id): size} if size else {}
        return replace(self, after=str(up_to), chunks={**self.chunks, **taken}, found_any=self.found_any or bool(taken))

    def holds(self, chunk_id: UUID) -> bool:
        """Whether the chunk belongs to this pass and is not recorded yet."""
        return str(chunk_id) in self.chunks

    def without_chunk(self, chunk_id: UUID) -> Self:
        return replace(self, chunks={key: size for key, size in self.chunks.items() if key != str(chunk_id)})

    def next_pass(self) -> Self:
        return replace(
            self,
            after=None,
            chunks={},
            found_any=False,
            failed=0,
            lost=0,
            passes=self.passes + 1,
            empty_passes=self.empty_passes_now,
            scored_before=self.scored,
        )
