"""`sparrow remove`: the end of an account, by the operator.

Owns where brokers are sought, and what is said. What happens is `userapi.endpoints.account_deletion`'s business, as for
an account whose owner deletes it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import NotFoundError, ServiceError
from protocol.ids import check_user_id
from sparrow.config.socket import private_endpoint
from sparrow.ops.export import Json, collect, lines, passive
from store import open_store
from userapi import audit
from userapi.asks import BrokerFabric
from userapi.bridge import StoreBridge
from userapi.brokers import Brokers
from userapi.endpoints.account_deletion import delete_account, forget_words, leave_groups, tell_brokers
from userapi.groups import GroupWork, Outcome
from userapi.settings import UserApiSettings

if TYPE_CHECKING:
    from sparrow.config.settings import Settings


_WORDS = {
    True: "its list and its marks are gone; what it wrote stays for the others, until it expires",
    False: "its list and its marks are gone, and all that it wrote",
}
"""By whether words of accounts that have ended are kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow remove`."""
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--yes", action="store_true", help="do it; without this, only tell what would go")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Remove a user. Raises `NotFoundError` if there never was one, `StoreError`, and what opening a store raises."""
    user = check_user_id(options.user)
    with open_bridge(settings) as bridge:
        found = _found(bridge, user)
        if found is not None:
            print(*lines(found, bodies=False), sep="\n")
        if not options.yes:
            print("nothing was removed: with --yes all of this goes, but for the files, and nobody gets the name again")
            return 1
        # What is wrong with a key or a folder is found out before anything is done.
        places = [Brokers(where) for where in places_of_brokers(settings)]
        groups = GroupWork(bridge, lambda event: None, time.time)
        left = leave_groups(groups, user)
        delete_account(bridge, user, known=found is not None, by=audit.ADMINISTRATOR)
        left += leave_groups(groups, user)  # of who was quick to add them
        print(_removed(user, found))
        told = any(_tell(bridge, brokers, user, left) for brokers in places)
        print(f"groups: {len(left)} left")
        keep_words = settings.history.words_of_deleted_accounts == "keep"
        forget_words(bridge, user, keep_words=keep_words, patient=True)
        print(f"conversations: {_WORDS[keep_words]}")
    if told:
        print("the brokers know; its sessions are closed")
        return 0
    print(
        "sparrow: no broker could be told (userapi.brokers): while any runs, sessions of the user may go on, so run "
        "this again where one can be reached",
        file=sys.stderr,
    )
    return 1


@contextmanager
def open_bridge(settings: Settings) -> Iterator[StoreBridge]:
    """The store, for a while."""
    store = open_store(passive(settings.store), history=settings.history)
    bridge = StoreBridge(store, settings.userapi.request_timeout_s)
    bridge.open()
    try:
        yield bridge
    finally:
        bridge.close()


def _found(bridge: StoreBridge, user: str) -> Json | None:
    """None for an account that has ended, whose end may have to go on."""
    try:
        return bridge.call(collect, bridge.store, user)
    except NotFoundError:
        return None


def _removed(user: str, found: Json | None) -> str:
    if found is None:
        return f'"{user}" was removed before; done once more'
    counts = ", ".join(f"{len(found[name])} {name}" for name in ("devices", "contacts"))
    files = len(found["files"])
    stay = f"; {files} files stay for their readers until their time is over" if files else ""
    return f'removed: the account "{user}", profile, {counts}, {len(found["waiting"])} that waited in inboxes{stay}'


# Brokers.


def places_of_brokers(settings: Settings) -> Iterator[UserApiSettings]:
    """Where brokers may be: in the node of this database, if it runs, and where the settings say."""
    endpoint = private_endpoint(settings)
    if Path(endpoint.removeprefix("ipc://")).is_socket():
        yield dataclasses.replace(settings.userapi, brokers=(endpoint,), curve_key_file="", broker_public_key_file="")
    yield settings.userapi


def _tell(bridge: StoreBridge, brokers: Brokers, user: str, left: list[Outcome]) -> bool:
    try:
        tell_brokers(BrokerFabric(bridge, brokers), user, left)
    except ServiceError:
        return False
    finally:
        bridge.call(brokers.close)
    return True
