"""Fuzzers: every reader of what comes from outside, under one law, at thousands of inputs a second.

**The law** (`law.py`): whatever the input, a reader gives a value or raises a `HorusError`, within a second of the
processor's time and 200 MB, without a warning of Python's.

Inputs are made of valid ones, which each target (`target.py`) has, by changes at random (`changes.py`) or, where
``atheris`` is installed, guided by what code they reach (`guided.py`). The same seed makes the same inputs. One that
breaks the law is kept in a file. ``python -m benchmarks.soak fuzz-mcap --count 1000000 --seed 7`` runs one.
"""
