"""Tests of what happens at the edge: proxies and tunnels, chunks and LMTP, traces of the way."""
