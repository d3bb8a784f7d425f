"""Tests of mailproto.pop3."""
