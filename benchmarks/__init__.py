"""Measurements of the whole and of its parts, on real processes and the loopback address.

`python -m benchmarks` runs all of them, prints a table and writes `results.json` beside this file.
A module of `benchmarks.measures` with a function under `@measures(NAME)` is a new one; nothing
else has to know.
"""
