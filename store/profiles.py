"""What a user says of themselves.

Owns that record, which both engines keep.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user says of themselves."""

    user: str
    display_name: str
    """Empty: none."""
    hides_presence: bool
    """Friends see neither whether the user is online nor when they were."""
    created_ms: int  # Unix time
    friends_may_add_me: bool = False
    """Friends may make the user a member of a group without asking."""
