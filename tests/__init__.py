"""All tests. With SPARROW_CORES=compiled they run the cores that `scripts/compile` has made."""

import os

from sparrow import compiled

if os.environ.get("SPARROW_CORES") == "compiled":
    compiled.use()
    assert compiled.cores() == "compiled", "these sources are not compiled: call scripts/compile first"
CORES = compiled.cores()
