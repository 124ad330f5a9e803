"""Real services for tests, each started where it is needed and gone with the test."""
