"""What runs on systems that are not POSIX, tried on this one by simulation: see `tests.portability.elsewhere`."""
