"""Routes. Stateless: cache and in-flight only. May import `protocol`, `fabric` and `store`."""
