"""Tests of mailproto.smtp, and what they share."""
