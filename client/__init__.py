"""The client library.

    async with Client("alice", password="…", state="alice.db") as alice:
        sending = await alice.send("bob", "hello")
        await sending.delivered
        async for message in alice:
            print(message.sender, message.text)
            await message.mark_read()
        await alice.contacts.ask("bob")
        await alice.send_file("bob", "holiday.jpg")
        group = await alice.groups.make("Hiking")
        await alice.send(group.group, "hello, all")

It reconnects and repeats by itself, keeps messages in order and drops repeats. All errors are `SparrowError`s; the
ones that matter to a client are named here. Everything runs in one asyncio event loop (uvloop is fine), not in threads.
"""

from client.api.contacts import Contact, Contacts, Friend
from client.api.devices import Device, Devices
from client.api.files import File, Files
from client.api.groups import Group, GroupChange, Invitation, Link, LinkedGroup, Member, MyGroup, ReadBy
from client.api.logins import UserApi, register
from client.api.oidc import LoginWays, Oidc, OidcAnswer, OidcBegun, OidcTicket, parse_oidc_answer
from client.api.profiles import OwnProfile, Profile, Profiles
from client.client import DEFAULT_API, Client
from client.connection import Timing
from client.conversations import Conversation, Conversations
from client.events import (
    Closed,
    Connected,
    Disconnected,
    Doubtful,
    Edited,
    Erased,
    Event,
    Found,
    GroupChanged,
    GroupLeft,
    Hint,
    HintKind,
    MarkRaised,
    OwnMessage,
    Progress,
    ReadElsewhere,
    SendingChanged,
    Signal,
    Unreadable,
)
from client.groups import Groups
from client.lines import HistoryEntry
from client.messages import FILE, TEXT, Message, Milestone, Sending, State
from client.options import Options
from client.signals import SignalKind, Typists
from protocol.errors import (
    AccountDisabledError,
    AlreadyExistsError,
    ApiError,
    BlockedError,
    ChecksumError,
    ClosedError,
    ConfigError,
    DeviceRemovedError,
    FileReferenceError,
    FileTooLargeError,
    GroupsNotOfferedError,
    HistoryNotKeptError,
    InvalidIdError,
    InvitationNeededError,
    LocalFileError,
    MessageTooLargeError,
    MisuseError,
    NoSuchUserError,
    NotAllowedHereError,
    NotFoundError,
    NotFriendError,
    NotMemberError,
    OidcError,
    PeerError,
    RefusedError,
    ReplacedError,
    SearchNotOfferedError,
    ServiceError,
    SessionEndedError,
    SparrowError,
    StateError,
    TokenRejectedError,
    UnavailableError,
    UnreachableError,
    UntrustedError,
    WrongCodeError,
    WrongPasswordError,
)
from protocol.files import FileReference

__all__ = [
    "DEFAULT_API",
    "FILE",
    "TEXT",
    "AccountDisabledError",
    "AlreadyExistsError",
    "ApiError",
    "BlockedError",
    "ChecksumError",
    "Client",
    "Closed",
    "ClosedError",
    "ConfigError",
    "Connected",
    "Contact",
    "Contacts",
    "Conversation",
    "Conversations",
    "Device",
    "DeviceRemovedError",
    "Devices",
    "Disconnected",
    "Doubtful",
    "Edited",
    "Erased",
    "Event",
    "File",
    "FileReference",
    "FileReferenceError",
    "FileTooLargeError",
    "Files",
    "Found",
    "Friend",
    "Group",
    "GroupChange",
    "GroupChanged",
    "GroupLeft",
    "Groups",
    "GroupsNotOfferedError",
    "Hint",
    "HintKind",
    "HistoryEntry",
    "HistoryNotKeptError",
    "InvalidIdError",
    "Invitation",
    "InvitationNeededError",
    "Link",
    "LinkedGroup",
    "LocalFileError",
    "LoginWays",
    "MarkRaised",
    "Member",
    "Message",
    "MessageTooLargeError",
    "Milestone",
    "MisuseError",
    "MyGroup",
    "NoSuchUserError",
    "NotAllowedHereError",
    "NotFoundError",
    "NotFriendError",
    "NotMemberError",
    "Oidc",
    "OidcAnswer",
    "OidcBegun",
    "OidcError",
    "OidcTicket",
    "Options",
    "OwnMessage",
    "OwnProfile",
    "PeerError",
    "Profile",
    "Profiles",
    "Progress",
    "ReadBy",
    "ReadElsewhere",
    "RefusedError",
    "ReplacedError",
    "SearchNotOfferedError",
    "Sending",
    "SendingChanged",
    "ServiceError",
    "SessionEndedError",
    "Signal",
    "SignalKind",
    "SparrowError",
    "State",
    "StateError",
    "Timing",
    "TokenRejectedError",
    "Typists",
    "UnavailableError",
    "UnreachableError",
    "Unreadable",
    "UntrustedError",
    "UserApi",
    "WrongCodeError",
    "WrongPasswordError",
    "parse_oidc_answer",
    "register",
]
