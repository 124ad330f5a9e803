"""Conformance vectors (README.md) and what runs them against our own code.

`python -m tests.vectors` writes the bytes that follow from the meanings anew, and the example in docs/protocol.md.
"""
