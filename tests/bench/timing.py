"""Measuring CPU time, in turns, so that what a machine does beside falls on all alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping


def interleave(candidates: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run the candidates in turn, ``rounds`` times, and return the median of what each returns, in seconds."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            gc.collect()
            samples[name].append(run())
    return {name: statistics.median(values) for name, values in samples.items()}


def cpu_seconds(job: Callable[[], object]) -> float:
    """Return the CPU seconds that one run of ``job`` takes in this process."""
    began = time.process_time()
    job()
    return time.process_time() - began


def per_item(job: Callable[[int], object], count: int) -> Callable[[], float]:
    """Return a candidate for `interleave`: the CPU seconds of ``job(count)`` for each of ``count``."""
    return lambda: cpu_seconds(lambda: job(count)) / count
