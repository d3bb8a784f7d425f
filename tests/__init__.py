"""Tests of mailproto."""

import pytest

# Their assertions count under ``python -O`` as well, and explain themselves when they fail.
pytest.register_assert_rewrite("tests.helpers", "tests.smtp.pipes")
