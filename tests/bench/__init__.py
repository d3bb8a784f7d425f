"""Benchmarks, run by hand: ``python -m tests.bench.core`` in memory, ``python -m tests.bench.loopback`` beside peers.

None of them is a test: a machine's speed passes or fails nothing.
"""
