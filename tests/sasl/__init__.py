"""Tests of mailproto.sasl: the frame, PLAIN and LOGIN. The stronger mechanisms are in tests/sasl_mechanisms."""
