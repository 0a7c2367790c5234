"""Latencies in buckets of equal ratio: bounded memory, and a bounded error."""

from math import log2

__all__ = ["Histogram"]

PER_OCTAVE = 32  # buckets between a time and its double: a percentile is right within 2.2 %
OCTAVES = 40  # from a nanosecond to 18 minutes
STEPS = (1, 2, 5)  # edges of the rows that people see, in each power of ten


class Histogram:
    """Counts of times.

    Attributes:
        count: of all.
        longest: seconds.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._shortest = 0.0
        self._sum = 0.0
        self._buckets = [0] * (PER_OCTAVE * OCTAVES)

    def record(self, seconds: float) -> None:
        """Add a time."""
        nanoseconds = seconds * 1e9
        place = int(log2(nanoseconds) * PER_OCTAVE) if nanoseconds > 1 else 0
        self._buckets[min(place, PER_OCTAVE * OCTAVES - 1)] += 1
        self._shortest = min(self._shortest, seconds) if self.count else seconds
        self.longest = max(self.longest, seconds)
        self._sum += seconds
        self.count += 1

    def percentile(self, share: float) -> float:
        """The seconds within which a share (0 to 1) of the times is; 0 of none.

        It is the upper edge of a bucket, never less than what was measured.
        """
        wanted, seen = share * self.count, 0
        for place, count in enumerate(self._buckets):
            seen += count
            if count and seen >= wanted:
                return min(2 ** ((place + 1) / PER_OCTAVE) / 1e9, self.longest)
        return self.longest

    def summary(self) -> dict[str, float]:
        """Microseconds: the usual percentiles, the extremes and the mean."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
        told = {name: round(self.percentile(share) * 1e6, 1) for name, share in shares.items()}
        mean = self._sum / self.count if self.count else 0.0
        ends = {"min": self._shortest, "mean": mean, "max": self.longest}
        return told | {name: round(value * 1e6, 1) for name, value in ends.items()}

    def rows(self) -> list[tuple[float, float, int]]:
        """Rows for people: from and to in microseconds, and the count; without gaps."""
        edges = [step * 10.0**power for power in range(-3, 10) for step in STEPS]
        counts = [0] * (len(edges) - 1)
        row = 0
        for place, count in enumerate(self._buckets):
            middle = 2 ** ((place + 0.5) / PER_OCTAVE) / 1e3
            while row < len(counts) - 1 and middle >= edges[row + 1]:
                row += 1
            counts[row] += count
        used = [row for row, count in enumerate(counts) if count]
        if not used:
            return []
        span = range(used[0], used[-1] + 1)
        return [(edges[row], edges[row + 1], counts[row]) for row in span]
