"""Signs of Chinese typography that the recogniser gives in Latin text become what one would type."""

from __future__ import annotations

import pytest

from local_brain.characters import typed


@pytest.mark.parametrize(
    ("read", "line"),
    [
        ("0,0℃", "0,0 °C"),
        ("356,7 °℃ und", "356,7 °C und"),
        ("at 70 ℉.", "at 70 °F."),
        ("℃", "°C"),
        ("37 °C", "37 °C"),
        ("f（x），ok！", "f(x),ok!"),
        ("光合作用（光）， 20℃", "光合作用（光）， 20 °C"),
        ("ñandú, ß, ½, x²", "ñandú, ß, ½, x²"),
    ],
)
def test_what_is_typed(read: str, line: str) -> None:
    assert typed(read) == line
