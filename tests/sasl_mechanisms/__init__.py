"""Tests of the mechanisms of mailproto.sasl, by themselves and through the flows of both protocols."""
