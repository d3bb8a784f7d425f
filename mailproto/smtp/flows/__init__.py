"""SMTP's whole jobs, as generators without I/O: `client` opens sessions, `sending` sends, `server` serves.

`planning` and `fitting` are parts of sending, `shelf` is what a pool of connections decides.
"""
