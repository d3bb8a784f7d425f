"""Tests of mailproto."""

import pkgutil
import sys

if "pytest" in sys.modules:  # of which a process that a test starts has no need
    import pytest

    # Helpers' assertions count under ``python -O`` as well, and explain themselves when they fail.
    pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
