"""The program: command line, settings, the one-process node, terminal chat, everything for operators."""

from importlib import metadata


def version() -> str:
    """Of Sparrow, as it is installed; empty if it is not. Reads files: not for each request."""
    try:
        return metadata.version("sparrow-im")
    except metadata.PackageNotFoundError:
        return ""
