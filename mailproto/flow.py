"""The contract between flows and those who drive them, for drivers and flows of your own."""

from mailproto._core.flow import Call, Flow, Sleep, Want, Wish

__all__ = ["Call", "Flow", "Sleep", "Want", "Wish"]
