"""The client library.

    async with Client("alice", password="…", state="alice.db") as alice:
        sending = await alice.send("bob", "hello")
        await sending.delivered
        async for message in alice:
            print(message.sender, message.text)
            await message.mark_read()

It reconnects and repeats by itself, keeps messages in order and drops repeats. All errors are `SparrowError`s; the
ones that matter to a client are named here. Everything runs in one asyncio event loop (uvloop is fine), not in threads.
"""

from protocol.errors import (
    AlreadyExistsError,
    ApiError,
    BlockedError,
    ClosedError,
    ConfigError,
    DeviceRemovedError,
    InvalidIdError,
    MessageTooLargeError,
    MisuseError,
    NoSuchUserError,
    NotFriendError,
    PeerError,
    RefusedError,
    ReplacedError,
    ServiceError,
    SessionEndedError,
    SparrowError,
    StateError,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
    UntrustedError,
    WrongPasswordError,
)
from sparrow.client.client import DEFAULT_API, Client
from sparrow.client.connection import Timing
from sparrow.client.engine import Options
from sparrow.client.events import (
    Closed,
    Connected,
    Disconnected,
    Event,
    OwnMessage,
    Progress,
    ReadElsewhere,
    SendingChanged,
)
from sparrow.client.history import HistoryEntry
from sparrow.client.http import UserApi, register
from sparrow.client.messages import FILE, TEXT, Message, Milestone, Sending, State

__all__ = [
    "DEFAULT_API",
    "FILE",
    "TEXT",
    "AlreadyExistsError",
    "ApiError",
    "BlockedError",
    "Client",
    "Closed",
    "ClosedError",
    "ConfigError",
    "Connected",
    "DeviceRemovedError",
    "Disconnected",
    "Event",
    "HistoryEntry",
    "InvalidIdError",
    "Message",
    "MessageTooLargeError",
    "Milestone",
    "MisuseError",
    "NoSuchUserError",
    "NotFriendError",
    "Options",
    "OwnMessage",
    "PeerError",
    "Progress",
    "ReadElsewhere",
    "RefusedError",
    "ReplacedError",
    "Sending",
    "SendingChanged",
    "ServiceError",
    "SessionEndedError",
    "SparrowError",
    "State",
    "StateError",
    "Timing",
    "TokenRejectedError",
    "UnavailableError",
    "UnreachableError",
    "UntrustedError",
    "UserApi",
    "WrongPasswordError",
    "register",
]
