"""`Codes` over a Cassandra cluster.

Owns the tables `invitations` and `invitation_list`, and of `users` the columns `reset_code` and `invitation`. What
changes one is conditional, so of many who use one code one is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cassandra.query import BatchStatement, BatchType

from protocol.errors import NotFoundError, StoreError
from store.cassandra.accounts import Accounts
from store.cassandra.connecting import Connection
from store.cassandra.logins import Logins
from store.cassandra.requests import Requests
from store.codes import Codes, Invitation, ResetCode, read_reset_code

_RESET_CODE = "SELECT reset_code, deleted_us FROM users WHERE user = ? LIMIT 1"
_PUT_RESET_CODE = "UPDATE users SET reset_code = ? WHERE user = ? IF created_us != null AND deleted_us = null"
_LOGINS = "SELECT device, login, password_hash, reset_code FROM users WHERE user = ?"
_RESET = (
    "UPDATE users SET password_hash = ?, epoch = ?, reset_code = ? WHERE user = ? "
    "IF reset_code = ? AND disabled = null AND deleted_us = null"
)
_LOG_OUT = "UPDATE users SET login = '' WHERE user = ? AND device = ?"
_MADE_WITH = "SELECT invitation FROM users WHERE user = ? LIMIT 1"
_ADD = (
    "INSERT INTO invitations (digest, invitation, made_ms, ends_ms, uses, uses_left, note) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS USING TTL ?"
)
_LIST = "INSERT INTO invitation_list (bucket, invitation, digest) VALUES (0, ?, ?) USING TTL ?"
_LISTED = "SELECT invitation, digest FROM invitation_list WHERE bucket = 0 AND invitation > ? LIMIT ?"
_COUNT = "SELECT count(*) FROM invitation_list WHERE bucket = 0"
_DIGEST = "SELECT digest FROM invitation_list WHERE bucket = 0 AND invitation = ?"
_ONE = "SELECT invitation, digest, made_ms, ends_ms, uses, note, used_by, uses_left FROM invitations WHERE digest = ?"
_DROP = "DELETE FROM invitations WHERE digest = ? IF EXISTS"
_UNLIST = "DELETE FROM invitation_list WHERE bucket = 0 AND invitation = ?"
_USE = "UPDATE invitations USING TTL ? SET used_by = used_by + ?, uses_left = ? WHERE digest = ? IF uses_left = ?"
_RETURN = "UPDATE invitations USING TTL ? SET used_by = used_by - ?, uses_left = ? WHERE digest = ? IF uses_left = ?"

_TRIES = 20
_MOST_TTL_S = 20 * 365 * 86400


class CassandraCodes(Codes):
    """`clock` gives Unix time in seconds."""

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        clock: Callable[[], float],
        accounts: Accounts,
        logins: Logins,
    ) -> None:
        self._requests = requests
        self._clock = clock
        self._accounts = accounts
        self._device_logins = logins
        self._reset_code = connection.prepare(_RESET_CODE)
        self._put_reset_code = connection.prepare(_PUT_RESET_CODE)
        self._logins = connection.prepare(_LOGINS)
        self._reset = connection.prepare(_RESET)
        self._log_out = connection.prepare(_LOG_OUT)
        self._made_with = connection.prepare(_MADE_WITH)
        self._add = connection.prepare(_ADD)
        self._list = connection.prepare(_LIST)
        self._listed = connection.prepare(_LISTED)
        self._count = connection.prepare(_COUNT)
        self._digest = connection.prepare(_DIGEST)
        self._one = connection.prepare(_ONE)
        self._drop = connection.prepare(_DROP)
        self._unlist = connection.prepare(_UNLIST)
        self._use = connection.prepare(_USE)
        self._return = connection.prepare(_RETURN)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    # A new password.

    async def put_reset_code(self, user: str, code: ResetCode) -> None:
        change = self._put_reset_code.bind((code.written(), user or " "))
        if not (await self._requests.conditional(change))["[applied]"]:
            raise NotFoundError(f'there is no user "{user}"')

    async def reset_code(self, user: str) -> ResetCode | None:
        (rows,) = await self._requests.run([self._reset_code.bind((user or " ",))])
        return read_reset_code(rows[0][0]) if rows and rows[0][1] is None else None

    async def reset_password(self, user: str, digest: str, new_hash: str) -> bool:
        for _ in range(_TRIES):
            (rows,) = await self._requests.run([self._logins.bind((user or " ",))])
            cell = rows[0][3] if rows else None
            code = read_reset_code(cell)
            if code is None or code.digest != digest:
                return False
            if code.used:
                if rows[0][2] != new_hash:  # else this very call did, in a try whose answer was lost
                    return False
                break
            if code.ends_ms <= self._now_ms():
                return False
            devices = [device for device, login, *_ in rows if login]
            there = await self._requests.conditional(self._resetting(user, code, new_hash, devices))
            if there["[applied]"]:
                break
            if there.get("disabled") or there.get("deleted_us") is not None:
                return False
        else:
            raise StoreError(f'the account "{user}" changes too often to follow')
        # Logins that began since they were read, with the password of before.
        for one in await self._accounts.list_devices(user):
            if one.logged_in:
                await self._device_logins.end(user, one.device)
        return True

    def _resetting(self, user: str, code: ResetCode, new_hash: str, devices: list[str]) -> BatchStatement:
        """All of one partition, and of one condition."""
        used = ResetCode(code.digest, code.ends_ms, used=True)
        batch = BatchStatement(BatchType.UNLOGGED)
        epoch = int(self._clock() * 1_000_000)
        batch.add(self._reset.bind((new_hash, epoch, used.written(), user, code.written())))
        for device in devices:
            batch.add(self._log_out.bind((user, device)))
        return batch

    # Invitations.

    async def add_invitation(self, invitation: Invitation) -> None:
        one = invitation
        life_s = self._life_s(one.ends_ms)
        await self._requests.run([self._list.bind((one.invitation, one.digest, life_s))])
        values = (one.digest, one.invitation, one.made_ms, one.ends_ms, one.uses, one.uses, one.note, life_s)
        await self._requests.conditional(self._add.bind(values))

    async def invitations(self, after: str, limit: int) -> Sequence[Invitation]:
        found: list[Invitation] = []
        while len(found) < limit:
            wanted = limit - len(found)
            (listed,) = await self._requests.run([self._listed.bind((after, wanted))])
            answers = await self._requests.run([self._one.bind((digest,)) for _, digest in listed])
            known = [_invitation(rows[0]) for rows in answers if rows]
            found += [one for one in known if one is not None and one.ends_ms > self._now_ms()]
            if len(listed) < wanted:
                break
            after = listed[-1][0]
        return found

    async def count_invitations(self) -> int:
        (rows,) = await self._requests.run([self._count.bind(())])
        return int(rows[0][0])

    async def withdraw_invitation(self, invitation: str) -> bool:
        (rows,) = await self._requests.run([self._digest.bind((invitation,))])
        if not rows:
            return False
        stood = await self._standing(rows[0][0])
        await self._requests.conditional(self._drop.bind((rows[0][0],)))
        await self._requests.run([self._unlist.bind((invitation,))])
        return stood is not None

    async def use_invitation(self, digest: str, user: str) -> str | None:
        for _ in range(_TRIES):
            found = await self._standing(digest)
            if found is None:
                return None
            invitation, left = found
            if user in invitation.used_by:
                return invitation.invitation
            if left <= 0:
                return None
            if await self._swap(self._use, invitation, user, left, left - 1):
                return invitation.invitation
        raise StoreError("the invitation changes too often to follow")

    async def return_use(self, digest: str, user: str) -> None:
        for _ in range(_TRIES):
            found = await self._standing(digest)
            if found is None or user not in found[0].used_by:
                return
            if await self._swap(self._return, found[0], user, found[1], found[1] + 1):
                return
        raise StoreError("the invitation changes too often to follow")

    async def invitation_of(self, user: str) -> str | None:
        (rows,) = await self._requests.run([self._made_with.bind((user or " ",))])
        return rows[0][0] or "" if rows else None

    async def _swap(self, statement: Any, one: Invitation, user: str, left: int, then: int) -> bool:
        values = (self._life_s(one.ends_ms), {user}, then, one.digest, left)
        return bool((await self._requests.conditional(statement.bind(values)))["[applied]"])

    async def _standing(self, digest: str) -> tuple[Invitation, int] | None:
        """What has not ended, and how often it can still be used."""
        (rows,) = await self._requests.run([self._one.bind((digest,))])
        found = _invitation(rows[0]) if rows else None
        return None if found is None or found.ends_ms <= self._now_ms() else (found, rows[0][7] or 0)

    def _life_s(self, ends_ms: int) -> int:
        return min(max(1, -(-(ends_ms - self._now_ms()) // 1000)), _MOST_TTL_S)


def _invitation(row: Any) -> Invitation | None:
    """None for what an expiring row has left."""
    invitation, digest, made_ms, ends_ms, uses, note, used_by, _ = row
    if invitation is None or ends_ms is None:
        return None
    return Invitation(invitation, digest, made_ms, ends_ms, uses, note or "", tuple(sorted(used_by or ())))
