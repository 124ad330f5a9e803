"""Fuzzers of everything that reads bytes from outside: `python -m tests.fuzz.<name> --seconds N`.

One harness a module: `one(data)` raises when something is wrong, `corpus()` says what to begin with. With atheris
installed the run is guided by coverage; without it, inputs are random and mutated vectors.
"""
