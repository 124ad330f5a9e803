"""The node of tests/sparrow, and its stage."""

from tests.sparrow.conftest import node as node
from tests.sparrow.conftest import stage as stage
