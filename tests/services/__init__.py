"""Real services for tests, started where they are needed and gone when nobody needs them."""
