"""The product-limit estimate of the time to an event, where some times are cut off before the event."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from triage.statistics.confidence import Interval, Z


@dataclass(frozen=True, slots=True)
class Reached:
    """The share of subjects with an event up to a time.

    Attributes:
        at_risk: subjects that were observed up to this time without an event.
        share: 0..1.
        interval: pointwise 95 % interval; None while it is not defined: before the first event, and once all that were
            at risk had one.
    """

    at_risk: int
    share: float
    interval: Interval | None


def time_to_event(observed: Iterable[tuple[float, bool]], at: Sequence[float]) -> list[Reached]:
    """Estimates at some times the share of subjects with an event up to then: one minus the Kaplan-Meier curve.

    Kaplan and Meier 1958, Nonparametric estimation from incomplete observations, doi:10.1080/01621459.1958.10501452.
    The variance is Greenwood's. The interval is symmetric for log(-log S), so it stays within 0..1: Kalbfleisch and
    Prentice 2002, The statistical analysis of failure time data, section 1.4, doi:10.1002/9781118032985. Equal to
    `scipy.stats.ecdf(...).sf.confidence_interval(method="log-log")`, whose import takes longer than most commands.

    Args:
        observed: for each subject the time, and whether the event happened then or the observation ended.
        at: times in ascending order, in the same unit.
    """
    times = sorted(observed)
    steps = _steps(times)
    alive, variance, step = 1.0, 0.0, next(steps, None)
    reached, ended = [], 0
    for moment in at:
        while step is not None and step[0] <= moment:
            _, at_risk, events = step
            alive *= 1 - events / at_risk
            variance += events / (at_risk * (at_risk - events)) if events < at_risk else math.inf
            step = next(steps, None)
        while ended < len(times) and times[ended][0] <= moment:
            ended += 1
        reached.append(Reached(len(times) - ended, 1 - alive, _interval(alive, variance)))
    return reached


def _steps(times: Sequence[tuple[float, bool]]) -> Iterator[tuple[float, int, int]]:
    """Each time with an event, the subjects at risk then, and the events."""
    first = 0
    while first < len(times):
        moment, last = times[first][0], first
        while last < len(times) and times[last][0] == moment:
            last += 1
        if events := sum(happened for _, happened in times[first:last]):
            yield moment, len(times) - first, events
        first = last


def _interval(alive: float, variance: float) -> Interval | None:
    if not 0 < alive < 1:
        return None
    factor = math.exp(Z * math.sqrt(variance) / math.log(alive))
    return 1 - alive**factor, 1 - alive ** (1 / factor)
