"""How far a rescoring run is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self
from uuid import UUID

from triage.domain.runs import Run


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        total: attachments that lacked a verdict when the run began.
        scored: verdicts written.
        failed: attachments that could not be scored in the pass so far.
        chunks: how many photos each chunk holds that a worker has taken and not yet written, by the chunk's id.
        lost: attachments of this pass that came back unanswered.
        found_any: whether this pass has taken anything; it counts as if it had where a release before did not say.
        seconds_left: at the mean pace so far; None until anything is scored.
        after: the cursor, an attachment id.
        passes: passes begun.
        scored_before: verdicts written when this pass began.
        barren: passes before this one that brought nothing, one after another.
        withdrawn: retake requests withdrawn, not sent yet, because their message passes now.
        good_to_bad, bad_to_good: photos whose verdict is another than that of the inbox.
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
    barren: int = 0
    withdrawn: int = 0
    good_to_bad: int = 0
    bad_to_good: int = 0

    @classmethod
    def of(cls, run: Run) -> Self:
        """What a newer release has added is left out: its workers and this one's may share a run."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in run.progress.items() if name in known})  # type: ignore[arg-type]

    @property
    def in_flight(self) -> int:
        return sum(self.chunks.values())

    @property
    def barren_with_this(self) -> int:
        return self.barren + 1 if self.scored == self.scored_before else 0

    def with_chunk(self, chunk_id: UUID, size: int, *, up_to: UUID) -> Self:
        """Once all up to an id was looked at, and a worker has taken so many of that; it may be none."""
        taken = {str(chunk_id): size} if size else {}
        return replace(self, after=str(up_to), chunks={**self.chunks, **taken}, found_any=self.found_any or bool(taken))

    def holds(self, chunk_id: UUID) -> bool:
        """Whether the chunk is one of this pass and not written yet."""
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
            barren=self.barren_with_this,
            scored_before=self.scored,
        )
