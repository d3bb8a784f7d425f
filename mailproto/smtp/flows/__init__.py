"""SMTP's whole jobs, as generators without I/O: `client` opens sessions, `sending` sends, `server` serves."""
