"""What a rescoring run changes."""

from datetime import date

from worker.documents.document import Document


class FlipsDocument(Document):
    """Photos of one day and source whose verdict differs between a rescoring run and the inbox."""

    day: date
    source: str
    photos: int
    good_to_bad: int
    bad_to_good: int
