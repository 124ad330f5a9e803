"""What every endpoint shares: declaring it, bodies, problems, limits, pages. Knows no endpoint and no store."""
