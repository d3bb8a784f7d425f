"""Every test of this folder that asks for ``front`` runs on both adapters."""

from tests.adapters.conftest import front as front
