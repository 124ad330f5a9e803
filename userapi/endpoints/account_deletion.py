"""The end of an account, whoever asks for it: its owner, or the operator.

Owns what is done, and its order: the store first, then the brokers, then what is kept of conversations.
"""

from __future__ import annotations

from protocol.sparrow_pb2 import Goodbye
from userapi import audit
from userapi.asks import Fabric
from userapi.bridge import StoreBridge


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
    call(bridge.store.timelines.forget_author, user, keep_words)


def tell_brokers(fabric: Fabric, user: str) -> None:
    """Nobody routes to the user any more, and the sessions are closed. Raises `ServiceError`; may be repeated."""
    fabric.changed([user])
    fabric.close(user, code=Goodbye.DEVICE_REMOVED)
