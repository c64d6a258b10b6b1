"""What a sample says of all: an upper bound of the share that differs."""

from __future__ import annotations

from math import exp, lgamma

__all__ = ["CONFIDENCE", "most_differing"]

CONFIDENCE = 0.95
"""The probability with which the bound holds, before the sample is drawn."""


def most_differing(population: int, drawn: int, bad: int) -> int:
    """Return how many of a *population* differ at most, where *bad* of *drawn* ones do, with 95 % confidence.

    It is the largest number D for which so few would be found with a probability of more than 5 %. The probability is
    hypergeometric, since each one is drawn once at most: the sum for i from 0 to *bad* of
    C(D, i) x C(population - D, drawn - i) / C(population, drawn). For a large population and none that differs it is
    the rule of three: 3 / *drawn* of all.
    """
    low, high = bad, population - (drawn - bad)
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(population, drawn, bad, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


def _at_most(population: int, drawn: int, bad: int, differing: int) -> float:
    """Return the probability to find at most *bad* in a sample, where so many of all are *differing*."""
    all_ways = _log_choose(population, drawn)
    fewest = max(0, drawn - (population - differing))
    return sum(
        exp(_log_choose(differing, i) + _log_choose(population - differing, drawn - i) - all_ways)
        for i in range(fewest, min(bad, differing) + 1)
    )


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
