"""Which rows Cassandra is to have of users: accounts, how two of them stand, lists, invitations, reports, counts.

Owns nothing but that. Reads what is told by a connection that stands still (`Source.snapshot`).
"""

from __future__ import annotations

import sqlite3
from typing import Any

from store.cassandra.keys import bucket_of
from store.cassandra.mutes import written
from store.cassandra.timeline_keys import FOREVER
from store.migration.rows import Cells, Facet, Key, Moment, Unit, Values, Want
from store.timelines import is_group

_ACCOUNT = Facet(
    "users",
    ("user",),
    columns=(
        *("password_hash", "created_us", "deleted_us", "disabled", "epoch", "display_name", "hides_presence"),
        *("friends_may_add_me", "reset_code", "invitation"),
    ),
)
_DEVICE = Facet(
    "users",
    ("user",),
    ("device",),
    (
        *("label", "added_us", "removed_us", "session", "previous_session", "login", "generation", "refreshed_us"),
        *("start", "tries", "nonce", "checkpoint"),
    ),
    frozenset({"checkpoint"}),
)
_NAME = Facet("names", ("bucket", "user"))
_SEEN = Facet("seen", ("user",), columns=("seen_ms",), rises=frozenset({"seen_ms"}))
_MUTES = Facet("mutes", ("user",), columns=("told",))
_INVITED = Facet("group_invitations", ("user",), ("group_id",), ("invited_by", "ms"))
_SUBJECT = Facet("oidc_subjects", ("issuer", "subject"), columns=("user", "linked_ms"))
_SUBJECT_OF = Facet("oidc_subjects_of", ("user", "issuer", "subject"))
_PAIR = Facet("pairs", ("low", "high"), columns=("bits", "since_us"))
_CONTACT = Facet("contacts", ("user", "other"))


def _never_again(key: Key, values: Values) -> int:
    return FOREVER


MEMBER = Facet(
    "members",
    ("user", "other"),
    columns=("span", "hidden", "private", "public"),
    rises=frozenset({"span", "hidden", "private", "public"}),
    gone=_never_again,
)
_INVITATION = Facet(
    "invitations", ("digest",), columns=("invitation", "made_ms", "ends_ms", "uses", "uses_left", "used_by", "note")
)
_INVITATION_LISTED = Facet("invitation_list", ("bucket", "invitation"), columns=("digest",))
_REPORT = Facet("reports", ("bucket", "report"), columns=("reporter", "told"))
USAGE = Facet("usage", ("user",), ("day",), ("rows", "bytes"))
"""Counters: what is written is by how much they are wrong."""


def user(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """An account, its devices, and what else is the user's alone."""
    (name,) = key
    unit = Unit(scopes=[(_DEVICE, key), (_NAME, (bucket_of(name), name)), (_MUTES, key), (_INVITED, key)])
    unit.scopes.append((_SEEN, key))
    account = connection.execute(
        "SELECT password_hash, created_ms, deleted_ms, disabled, epoch, display_name, hides_presence, "
        "friends_may_add_me, reset_code, invitation FROM accounts WHERE user = ?",
        key,
    ).fetchone()
    if account is not None:
        _add_account(unit, name, account)
    devices = connection.execute(
        "SELECT device, label, created_ms, removed_ms, session, previous_session, login, generation, refreshed_ms, "
        "start, tries, nonce, checkpoint FROM devices WHERE user = ? ORDER BY id",
        key,
    )
    newest_us = 0
    for row in devices.fetchall():
        # In the order in which they came, also those of one millisecond.
        newest_us = max(newest_us + 1, row[2] * 1000)
        _add_device(unit, name, newest_us, row)
    seen = connection.execute("SELECT seen_ms FROM seen WHERE user = ?", key).fetchone()
    if seen is not None:
        # The time that is told is the write's own, as the engine has it.
        unit.wants.append(Want(_SEEN, key, (Cells({"seen_ms": seen[0]}, seen[0] * 1000),)))
    mutes = dict(connection.execute("SELECT other, until_ms FROM mutes WHERE user = ?", key).fetchall())
    if mutes:
        unit.want(_MUTES, key, {"told": written(mutes)})
    invited = connection.execute("SELECT group_id, invited_by, ms FROM group_invitations WHERE user = ?", key)
    for group, by, ms in invited.fetchall():
        unit.want(_INVITED, (name, group), {"invited_by": by, "ms": ms})
    return unit


def _add_account(unit: Unit, name: str, row: tuple[Any, ...]) -> None:
    password_hash, created_ms, deleted_ms, disabled, epoch, display_name, hides, may_add, reset_code, invitation = row
    values = {
        "password_hash": password_hash,
        "created_us": created_ms * 1000,
        "deleted_us": _us(deleted_ms),
        "disabled": bool(disabled) or None,
        "epoch": epoch or None,
        "display_name": display_name or None,
        "hides_presence": bool(hides) or None,
        "friends_may_add_me": bool(may_add) or None,
        "reset_code": reset_code or None,
        "invitation": invitation or None,
    }
    unit.want(_ACCOUNT, (name,), values)
    if deleted_ms is None:
        unit.want(_NAME, (bucket_of(name), name), {})


def _add_device(unit: Unit, name: str, added_us: int, row: tuple[Any, ...]) -> None:
    device, label, _, removed_ms, session, previous, login, generation, refreshed_ms, *rest = row
    start, tries, nonce, checkpoint = rest
    values = {
        "label": label,
        "added_us": added_us,
        "removed_us": _us(removed_ms),
        "session": session,
        "previous_session": previous,
        "login": login or None,
        "generation": generation or None,
        "refreshed_us": _us(refreshed_ms) or None,
        "start": start or None,
        "tries": tries or None,
        "nonce": nonce or None,
    }
    cells = [Cells(values)]
    if checkpoint:
        cells.append(Cells({"checkpoint": checkpoint}, checkpoint))
    unit.wants.append(Want(_DEVICE, (name, device), tuple(cells)))


def _us(ms: int | None) -> int | None:
    return None if ms is None else ms * 1000


def subject(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """Whose account somebody's is whom an OpenID provider knows."""
    unit = Unit(scopes=[(_SUBJECT, key)])
    row = connection.execute(
        "SELECT user, linked_ms FROM oidc_subjects WHERE issuer = ? AND subject = ?", key
    ).fetchone()
    if row is not None:
        unit.want(_SUBJECT, key, {"user": row[0], "linked_ms": row[1]})
        unit.want(_SUBJECT_OF, (row[0], *key), {})
    return unit


def pair(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """How two users stand."""
    low, high = key
    both = (low, high), (high, low)
    unit = Unit(scopes=[(_PAIR, key), *[(_CONTACT, one) for one in both]])
    row = connection.execute("SELECT bits, since_ms FROM contacts WHERE low = ? AND high = ?", key).fetchone()
    if row is not None:
        unit.want(_PAIR, key, {"bits": row[0], "since_us": row[1] * 1000})
        for one in both:
            unit.want(_CONTACT, one, {})
    return unit


def listed(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """What a user has of a conversation: whether it is listed, from where on it is hidden, and marks."""
    unit = Unit(scopes=[(MEMBER, key)])
    row = connection.execute(
        "SELECT listed, hidden, private, public FROM members WHERE user = ? AND other = ? "
        "AND user NOT IN (SELECT user FROM accounts WHERE user = ?1 AND deleted_ms IS NOT NULL)",
        key,
    ).fetchone()
    if row is None:
        return unit
    is_listed, hidden, private, public = row
    cells = []
    if is_listed and not is_group(key[1]):
        # At least; the days of its messages come with them.
        cells.append(Cells({"span": 0}, 1))
    if hidden:
        cells.append(Cells({"hidden": hidden}, hidden + 1))
    cells += [Cells({name: mark}, mark) for name, mark in (("private", private), ("public", public)) if mark]
    if cells:
        unit.wants.append(Want(MEMBER, key, tuple(cells)))
    return unit


def invitation(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """An invitation to register."""
    name, digest = key
    unit = Unit(scopes=[(_INVITATION, (digest,)), (_INVITATION_LISTED, (0, name))])
    row = connection.execute(
        "SELECT made_ms, ends_ms, uses, note FROM invitations WHERE invitation = ?", (name,)
    ).fetchone()
    if row is not None:
        made_ms, ends_ms, uses, note = row
        used_by = connection.execute("SELECT user FROM invitation_uses WHERE invitation = ?", (name,)).fetchall()
        values = {
            "invitation": name,
            "made_ms": made_ms,
            "ends_ms": ends_ms,
            "uses": uses,
            "uses_left": uses - len(used_by),
            "used_by": {one for (one,) in used_by} or None,
            "note": note,
        }
        unit.want(_INVITATION, (digest,), values, ends_ms)
        unit.want(_INVITATION_LISTED, (0, name), {"digest": digest}, ends_ms)
    return unit


def report(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """A report."""
    unit = Unit(scopes=[(_REPORT, (0, *key))])
    row = connection.execute("SELECT reporter, told FROM reports WHERE report = ?", key).fetchone()
    if row is not None:
        unit.want(_REPORT, (0, *key), {"reporter": row[0], "told": row[1]})
    return unit


def usage(connection: sqlite3.Connection, key: Key, at: Moment) -> Unit:
    """How much an author has, by day."""
    unit = Unit(scopes=[(USAGE, key)])
    rows = connection.execute("SELECT day, rows, bytes FROM usage WHERE user = ?", key)
    for day, count, size in rows.fetchall():
        unit.want(USAGE, (*key, day), {"rows": count, "bytes": size})
    return unit
