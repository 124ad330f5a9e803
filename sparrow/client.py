"""The client library under its public name: `from sparrow.client import Client`.

Owns that name alone; the library is the room `client`.
"""

from client import *  # noqa: F403
from client import __all__ as __all__
