"""What holds for the elements of arrays from outside, in requests and in traces."""

from __future__ import annotations

import re
from typing import Any

_OLD = re.compile(r"(?<![A-Za-z])a(?![A-Za-z])")
_LAST, _FIRST_HALF, _LAST_HALF = 0x10FFFF, 0xD800, 0xDFFF
"""Of Unicode: the last character, and what is no character but half of one, a surrogate."""


def has_old_letter(dtype: str) -> bool:
    """Whether NumPy's text for a dtype has the letter ``a``, an old one for ``S``.

    NumPy 2 warns of it, and later ones know nothing of it.
    """
    return _OLD.search(dtype) is not None


def is_unicode(array: Any) -> bool:
    """Whether the texts in an array, of the kind ``U``, consist of characters, or halves of them.

    Python cannot make a text of anything else, and raises a ``SystemError``.
    """
    return bool((_numbers(array) <= _LAST).all())


def has_halves(array: Any) -> bool:
    """Whether a text in an array, of the kind ``U``, has half a character (a lone surrogate), which is not text."""
    numbers = _numbers(array)
    return bool(((numbers >= _FIRST_HALF) & (numbers <= _LAST_HALF)).any())


def _numbers(array: Any) -> Any:
    """The numbers of the characters: NumPy has four bytes for each, in the order of the dtype."""
    import numpy

    kind = f"{array.dtype.str[0]}u4"
    return numpy.frombuffer(array.data, kind) if array.nbytes else numpy.empty(0, kind)
