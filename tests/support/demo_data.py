"""Ids of rows that ``demo/data.sql`` and ``demo/board.sql`` insert."""

from typing import Final

ADA: Final = "0000ada0-0000-4000-8000-000000000001"  # owns Apollo
GRACE: Final = "0000ace0-0000-4000-8000-000000000002"  # a member of Apollo
KATHERINE: Final = "0000ca70-0000-4000-8000-000000000004"
APOLLO: Final = "a9011000-0000-4000-8000-000000000001"
GEMINI: Final = "9e313100-0000-4000-8000-000000000002"
TASK: Final = "7a500000-0000-4000-8000-000000000001"  # "Fuel the rocket", of Apollo
OTHER_TASK: Final = "7a500000-0000-4000-8000-000000000002"
