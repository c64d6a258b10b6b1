"""Random lives of orders: whatever happens, each part is there once in the end, and every verdict was true."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.drawing import Drawing
from tests.ingest.lives import wrong_in


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_each_part_is_there_once(draw: random.Random) -> None:
    """After any failures, crashes, edits and copies nothing is lost, doubled or overwritten, and no verdict untrue."""
    life = Drawing(draw).life()
    assert wrong_in(life) == [], life
