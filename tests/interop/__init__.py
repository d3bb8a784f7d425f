"""Mailproto meets real mail programs, each started here with a configuration of its own on loopback ports."""
