"""``python -m horus_async``: the same as the command ``horus-async``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
