"""Fetch and keep."""
