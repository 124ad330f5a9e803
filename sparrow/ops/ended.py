"""`sparrow end-logins`: all logins of a user, or of everybody, end, by the operator.

Owns what is said, and the way through all users. What happens is the store's and `userapi.endings`' business, as where
a user logs all devices out. Brokers are sought as by `sparrow remove`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator

from protocol.errors import ConfigError, NotFoundError, ServiceError
from protocol.ids import check_user_id
from sparrow.config.settings import Settings
from sparrow.ops.removal import open_bridge, places_of_brokers
from store.codes import ResetCode
from userapi import audit
from userapi.asks import BrokerFabric
from userapi.bridge import StoreBridge
from userapi.brokers import Brokers
from userapi.endings import Endings

_AT_ONCE = 500
_NO_CODE = ResetCode("-", 0, used=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow end-logins`."""
    parser.add_argument("user", metavar="USER", nargs="?")
    parser.add_argument("--all", action="store_true", help="of every user, as after a restore")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """End logins. Raises `ConfigError`, `NotFoundError` without such a user, and what opening a store raises."""
    if bool(options.user) == options.all:
        raise ConfigError("name one user, or --all")
    with open_bridge(settings) as bridge, contextlib.ExitStack() as stack:
        # What is wrong with a key or a folder is found out before anything is done.
        fabrics = []
        for where in places_of_brokers(settings):
            brokers = Brokers(where)
            stack.callback(bridge.call, brokers.close)
            fabrics.append(BrokerFabric(bridge, brokers))
        users = _all(bridge) if options.all else iter([[check_user_id(options.user)]])
        ended, told = 0, True
        for some in users:
            done = [user for user in some if _end(bridge, user, known=not options.all)]
            ended += len(done)
            told &= any(_tell(bridge, fabric, done) for fabric in fabrics)
    print(f"ended: all logins of {ended} users" if options.all else f'ended: all logins of "{options.user}"')
    if told:
        print("the brokers know; their sessions are closed, and their devices may log in again with the password")
        return 0
    print(
        "sparrow: no broker could be told (userapi.brokers): while any runs, sessions may go on until their tokens are "
        "overdue, so run this again where one can be reached",
        file=sys.stderr,
    )
    return 1


def _all(bridge: StoreBridge) -> Iterator[list[str]]:
    after = ""
    while some := list(bridge.call(bridge.store.users, after, _AT_ONCE)):
        yield some
        after = some[-1]


def _end(bridge: StoreBridge, user: str, *, known: bool) -> bool:
    try:
        bridge.call(bridge.store.end_logins, user)
        if not known and bridge.call(bridge.store.codes.reset_code, user) is not None:
            # After a restore one that was used is open again.
            bridge.call(bridge.store.codes.put_reset_code, user, _NO_CODE)
    except NotFoundError:
        if known:
            raise
        return False  # it has ended itself
    audit.note("logins_ended", user, by=audit.ADMINISTRATOR)
    return True


def _tell(bridge: StoreBridge, fabric: BrokerFabric, users: list[str]) -> bool:
    """Whether these brokers know; where one does not confirm in time, they go on by themselves."""
    endings = Endings(bridge, fabric)
    try:
        fabric.changed(users)
        online = fabric.online(users)
        for user in users:
            if online[user]:
                endings.end(user)
    except ServiceError:
        return False
    finally:
        endings.stop()
    return True
