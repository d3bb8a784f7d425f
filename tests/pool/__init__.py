"""Pools of connections."""
