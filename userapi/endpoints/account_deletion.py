"""The end of an account, whoever asks for it: its owner, or the operator.

Owns what is done, and its order: groups are left first, as long as somebody can ask for it again; then the store, then
the brokers, then what is kept of conversations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from protocol.errors import OutdatedError, ServiceError, UnavailableError
from protocol.sparrow_pb2 import Goodbye
from userapi import audit
from userapi.asks import Fabric
from userapi.bridge import StoreBridge
from userapi.groups import GroupWork, Outcome
from userapi.service import Service


def end_account(parts: Service, user: str, *, known: bool, by: str = "", **facts: object) -> None:
    """All of it. May be repeated until it returns. Raises `NotFoundError` if there never was such an account, and
    `ServiceError`."""
    left = leave_groups(parts.groups, user)
    delete_account(parts.bridge, user, known=known, by=by, **facts)
    left += leave_groups(parts.groups, user)  # of who was quick to add them
    with contextlib.suppress(ServiceError):  # who cannot be told will know in a while
        parts.notices.tell(left, user)
    try:
        parts.endings.end(user)
    finally:
        forget_words(parts.bridge, user, keep_words=parts.history.keeps_words)


def leave_groups(groups: GroupWork, user: str) -> list[Outcome]:
    """All of the user's; to be told to brokers. Raises `UnavailableError` and `StoreError`; may be repeated."""
    try:
        return groups.leave_all(user)
    except OutdatedError as error:
        raise UnavailableError(str(error)) from None


def delete_account(bridge: StoreBridge, user: str, *, known: bool, by: str = "", **facts: object) -> None:
    """End the account in the store; without `known` it is a repeat, and nothing for the audit log.

    May be repeated until it returns. Raises `NotFoundError` if there never was such an account, and `StoreError`.
    """
    bridge.call(bridge.store.delete_account, user)
    if known:
        audit.note("account_deleted", user, by=by, **facts)


def forget_words(bridge: StoreBridge, user: str, *, keep_words: bool, patient: bool = False) -> None:
    """What is kept of the user's conversations ends: their list, marks and reports, and unless `keep_words` what they
    wrote. After the brokers know of the end, so that nothing is kept any more.

    May be repeated until it returns. Raises `StoreError`, also for want of time unless `patient`.
    """
    call = bridge.call_until_done if patient else bridge.call
    # First: the user's list says in which groups there are words.
    call(bridge.store.timelines.forget_author, user, keep_words)
    call(bridge.store.groups.forget_user, user)


def tell_brokers(fabric: Fabric, user: str, left: Sequence[Outcome] = ()) -> None:
    """Nobody routes to the user any more, nor by groups that they have left, and the sessions are closed. Raises
    `ServiceError`; may be repeated."""
    fabric.changed([user, *(one.group.group for one in left)])
    fabric.close(user, code=Goodbye.DEVICE_REMOVED)
