"""Tests of mailproto._core."""
