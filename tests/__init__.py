"""The tests of mailproto, laid out as the package is."""
