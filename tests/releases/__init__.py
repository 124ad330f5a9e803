"""What each release has left behind, and whether the present code lives with it (README.md)."""
