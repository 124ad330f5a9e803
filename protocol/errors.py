"""Every error of Sparrow, one tree.

Owns the exception classes that cross a module's border. May not import anything of ours.

Three branches: `MisuseError` (you called or configured it wrongly), `PeerError` (the other end broke
`docs/protocol.md` or the fabric's record format) and `ServiceError` (nobody's fault; try again later).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class SparrowError(Exception):
    """Base of all errors; its text says what to do."""


class MisuseError(SparrowError):
    """You misused Sparrow: a wrong argument, a wrong order of calls, a wrong configuration."""


class ConfigError(MisuseError):
    """A setting is missing, unknown or out of range; the text names it and the cure."""


class InvalidIdError(MisuseError):
    """A user id is not `[a-z0-9._-]{1,64}`, or a device id is not one that the user API minted."""


class PeerError(SparrowError):
    """The other end broke the protocol; the connection cannot go on."""


class FrameError(PeerError):
    """Bytes are not a varint length-delimited `Frame` (docs/protocol.md, "Framing")."""


class FrameTooLargeError(FrameError):
    """A frame's length is beyond the limit."""


class SequenceError(PeerError):
    """A well-formed frame that is not allowed now (docs/protocol.md, "Sessions")."""


class ProxyHeaderError(PeerError):
    """A connection from a proxy does not begin with a PROXY header that can be understood."""


class RecordError(PeerError):
    """Bytes on a fabric link are not records of this version."""


class ServiceError(SparrowError):
    """Something that should be there is not, for now."""


class UnavailableError(ServiceError):
    """Store, presence or broker is away; the same call may succeed later."""


class OverQuotaError(UnavailableError):
    """etcd has no room left and takes no more writes until somebody makes room."""


class LeaseLostError(ServiceError):
    """The lease has run out, and what hung on it is gone."""


class StoreError(ServiceError):
    """The store could not do what was asked; nothing of it may be taken as done."""


class NoSpaceError(StoreError):
    """The store's disk is full, or nearly: what adds is refused, what takes away goes on."""


class AlreadyExistsError(MisuseError):
    """The name is taken."""


class OutdatedError(MisuseError):
    """What was checked before (a password, an account) has changed meanwhile: check again."""


class NotFoundError(MisuseError):
    """There is no such account, device, file, message, or request to be a friend."""


class NotAllowedHereError(MisuseError):
    """One's role in a group, or a group's limit, does not allow it."""


class HistoryNotKeptError(MisuseError):
    """The service keeps no conversations: there is what this device has kept itself."""


class GroupsNotOfferedError(MisuseError):
    """The service knows no groups: it is an older one."""


class SearchNotOfferedError(MisuseError):
    """The service does not search in conversations."""


class FileReferenceError(PeerError):
    """The body of a FILE message is not what docs/protocol.md ("Files") says."""


class TokenError(PeerError):
    """A login token is malformed, expired, or not signed by our user API."""


# Of clients.


class ClosedError(MisuseError):
    """The client is closed, or was closed before the message came to anything."""


class WrongPasswordError(MisuseError):
    """There is no such account, or the password is wrong."""


class InvitationNeededError(MisuseError):
    """The service makes accounts by invitation: register with the code of one."""


class WrongCodeError(MisuseError):
    """The code of an invitation, or for a new password, is wrong, was used or has ended."""


class OidcError(MisuseError):
    """An OpenID provider does not vouch for whoever wants in, or they may not come; the text says why."""


class SessionEndedError(MisuseError):
    """The server has ended the session for good; reconnecting would not help."""


class TokenRejectedError(SessionEndedError):
    """The login token is not valid (any more), and there is no password to get a new one with."""


class ReplacedError(SessionEndedError):
    """The same device has logged in elsewhere."""


class AccountDisabledError(SessionEndedError):
    """The account is disabled for now; device and state are kept, for when it is enabled again."""


class DeviceRemovedError(SessionEndedError):
    """The device has been removed; its state is of no more use."""


class TooManyDevicesError(MisuseError):
    """The user has as many devices as allowed, `devices` as the user API lists them: log in in the place of one."""

    def __init__(self, text: str, devices: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(text)
        self.devices = devices


class RefusedError(MisuseError):
    """A message was refused for good; a repeat would be refused as well."""


class NoSuchUserError(RefusedError):
    """The addressee does not exist."""


class MessageTooLargeError(RefusedError):
    """The message is larger than the server takes."""


class BlockedError(RefusedError):
    """The addressee has blocked the author."""


class NotFriendError(RefusedError):
    """The addressee takes messages from friends only."""


class NotMemberError(RefusedError):
    """We are no member of the group, or there is none (any more)."""


class UnreachableError(UnavailableError):
    """Nothing answers at the address."""


class UntrustedError(PeerError):
    """A server's certificate is expired, for another name, or of a CA that we do not trust."""


class StateError(ServiceError):
    """A client's state file cannot be written; what was not kept has not happened."""


class ChecksumError(PeerError):
    """A file is not what its SHA-256 says."""


class FileTooLargeError(MisuseError):
    """The file is larger than the user API takes."""


class LocalFileError(MisuseError):
    """A file or folder of this machine cannot be read or written."""


class ApiError(PeerError):
    """The user API answered with something that is no answer of a user API."""
