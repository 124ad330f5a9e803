from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    TEXT: _ClassVar[Kind]
    FILE: _ClassVar[Kind]
    READ: _ClassVar[Kind]
    EDIT: _ClassVar[Kind]
    ERASE: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
TEXT: Kind
FILE: Kind
READ: Kind
EDIT: Kind
ERASE: Kind

class Frame(_message.Message):
    __slots__ = ("login", "message", "ack", "sync", "ping", "logout", "logged_in", "receipt", "failed", "synced", "pong", "goodbye", "hint", "signal")
    LOGIN_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    LOGOUT_FIELD_NUMBER: _ClassVar[int]
    LOGGED_IN_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    login: Login
    message: Message
    ack: Ack
    sync: Sync
    ping: Ping
    logout: Logout
    logged_in: LoggedIn
    receipt: Receipt
    failed: Failed
    synced: Synced
    pong: Pong
    goodbye: Goodbye
    hint: Hint
    signal: Signal
    def __init__(self, login: _Optional[_Union[Login, _Mapping]] = ..., message: _Optional[_Union[Message, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., sync: _Optional[_Union[Sync, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., logout: _Optional[_Union[Logout, _Mapping]] = ..., logged_in: _Optional[_Union[LoggedIn, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., synced: _Optional[_Union[Synced, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., hint: _Optional[_Union[Hint, _Mapping]] = ..., signal: _Optional[_Union[Signal, _Mapping]] = ...) -> None: ...

class Login(_message.Message):
    __slots__ = ("token", "client", "start", "tries", "understands", "fresh")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    UNDERSTANDS_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    token: str
    client: str
    start: int
    tries: int
    understands: _containers.RepeatedScalarFieldContainer[str]
    fresh: bool
    def __init__(self, token: _Optional[str] = ..., client: _Optional[str] = ..., start: _Optional[int] = ..., tries: _Optional[int] = ..., understands: _Optional[_Iterable[str]] = ..., fresh: _Optional[bool] = ...) -> None: ...

class LoggedIn(_message.Message):
    __slots__ = ("user_id", "device_id", "session", "previous_session", "server_time_ms", "heartbeat_ms", "max_frame_bytes", "max_message_bytes", "max_unsettled_per_stream", "max_unsettled_per_connection", "max_unacked", "understands", "inbox_ttl_ms", "edit_hours")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_SESSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_FRAME_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNSETTLED_PER_STREAM_FIELD_NUMBER: _ClassVar[int]
    MAX_UNSETTLED_PER_CONNECTION_FIELD_NUMBER: _ClassVar[int]
    MAX_UNACKED_FIELD_NUMBER: _ClassVar[int]
    UNDERSTANDS_FIELD_NUMBER: _ClassVar[int]
    INBOX_TTL_MS_FIELD_NUMBER: _ClassVar[int]
    EDIT_HOURS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    device_id: str
    session: int
    previous_session: int
    server_time_ms: int
    heartbeat_ms: int
    max_frame_bytes: int
    max_message_bytes: int
    max_unsettled_per_stream: int
    max_unsettled_per_connection: int
    max_unacked: int
    understands: _containers.RepeatedScalarFieldContainer[str]
    inbox_ttl_ms: int
    edit_hours: int
    def __init__(self, user_id: _Optional[str] = ..., device_id: _Optional[str] = ..., session: _Optional[int] = ..., previous_session: _Optional[int] = ..., server_time_ms: _Optional[int] = ..., heartbeat_ms: _Optional[int] = ..., max_frame_bytes: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_unsettled_per_stream: _Optional[int] = ..., max_unsettled_per_connection: _Optional[int] = ..., max_unacked: _Optional[int] = ..., understands: _Optional[_Iterable[str]] = ..., inbox_ttl_ms: _Optional[int] = ..., edit_hours: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("stream", "id", "settled", "from_id", "from_device", "dest_id", "kind", "body", "stamp", "about", "revision", "mark", "version", "erased")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    FROM_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEST_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    stream: int
    id: int
    settled: int
    from_id: str
    from_device: str
    dest_id: str
    kind: Kind
    body: bytes
    stamp: int
    about: About
    revision: int
    mark: int
    version: int
    erased: bool
    def __init__(self, stream: _Optional[int] = ..., id: _Optional[int] = ..., settled: _Optional[int] = ..., from_id: _Optional[str] = ..., from_device: _Optional[str] = ..., dest_id: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., body: _Optional[bytes] = ..., stamp: _Optional[int] = ..., about: _Optional[_Union[About, _Mapping]] = ..., revision: _Optional[int] = ..., mark: _Optional[int] = ..., version: _Optional[int] = ..., erased: _Optional[bool] = ...) -> None: ...

class About(_message.Message):
    __slots__ = ("from_device", "stream", "ids")
    FROM_DEVICE_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    from_device: str
    stream: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, from_device: _Optional[str] = ..., stream: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("up_to",)
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    up_to: int
    def __init__(self, up_to: _Optional[int] = ...) -> None: ...

class Sync(_message.Message):
    __slots__ = ("n", "group")
    N_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    n: int
    group: str
    def __init__(self, n: _Optional[int] = ..., group: _Optional[str] = ...) -> None: ...

class Synced(_message.Message):
    __slots__ = ("n",)
    N_FIELD_NUMBER: _ClassVar[int]
    n: int
    def __init__(self, n: _Optional[int] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("n",)
    N_FIELD_NUMBER: _ClassVar[int]
    n: int
    def __init__(self, n: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("n",)
    N_FIELD_NUMBER: _ClassVar[int]
    n: int
    def __init__(self, n: _Optional[int] = ...) -> None: ...

class Logout(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("stream", "ids", "stamps", "sent", "delivered", "from_device", "early")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    STAMPS_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    FROM_DEVICE_FIELD_NUMBER: _ClassVar[int]
    EARLY_FIELD_NUMBER: _ClassVar[int]
    stream: int
    ids: _containers.RepeatedScalarFieldContainer[int]
    stamps: _containers.RepeatedScalarFieldContainer[int]
    sent: bool
    delivered: bool
    from_device: str
    early: bool
    def __init__(self, stream: _Optional[int] = ..., ids: _Optional[_Iterable[int]] = ..., stamps: _Optional[_Iterable[int]] = ..., sent: _Optional[bool] = ..., delivered: _Optional[bool] = ..., from_device: _Optional[str] = ..., early: _Optional[bool] = ...) -> None: ...

class Hint(_message.Message):
    __slots__ = ("kind", "user_id", "stamp", "group", "version")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Hint.Kind]
        FRIEND_ASKED: _ClassVar[Hint.Kind]
        FRIEND_ACCEPTED: _ClassVar[Hint.Kind]
        FRIEND_REFUSED: _ClassVar[Hint.Kind]
        FRIEND_REMOVED: _ClassVar[Hint.Kind]
        DEVICES_CHANGED: _ClassVar[Hint.Kind]
        PROFILE_CHANGED: _ClassVar[Hint.Kind]
        MARK_RAISED: _ClassVar[Hint.Kind]
        HISTORY_CHANGED: _ClassVar[Hint.Kind]
        GROUP_CHANGED: _ClassVar[Hint.Kind]
        SKIPPED: _ClassVar[Hint.Kind]
    UNSPECIFIED: Hint.Kind
    FRIEND_ASKED: Hint.Kind
    FRIEND_ACCEPTED: Hint.Kind
    FRIEND_REFUSED: Hint.Kind
    FRIEND_REMOVED: Hint.Kind
    DEVICES_CHANGED: Hint.Kind
    PROFILE_CHANGED: Hint.Kind
    MARK_RAISED: Hint.Kind
    HISTORY_CHANGED: Hint.Kind
    GROUP_CHANGED: Hint.Kind
    SKIPPED: Hint.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    STAMP_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    kind: Hint.Kind
    user_id: str
    stamp: int
    group: str
    version: int
    def __init__(self, kind: _Optional[_Union[Hint.Kind, str]] = ..., user_id: _Optional[str] = ..., stamp: _Optional[int] = ..., group: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("kind", "dest_id", "body", "from_id", "from_device")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Signal.Kind]
        TYPING: _ClassVar[Signal.Kind]
        STOPPED_TYPING: _ClassVar[Signal.Kind]
    UNSPECIFIED: Signal.Kind
    TYPING: Signal.Kind
    STOPPED_TYPING: Signal.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEST_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    FROM_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_DEVICE_FIELD_NUMBER: _ClassVar[int]
    kind: Signal.Kind
    dest_id: str
    body: bytes
    from_id: str
    from_device: str
    def __init__(self, kind: _Optional[_Union[Signal.Kind, str]] = ..., dest_id: _Optional[str] = ..., body: _Optional[bytes] = ..., from_id: _Optional[str] = ..., from_device: _Optional[str] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("stream", "id", "code", "text", "retry_after_ms")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Failed.Code]
        NO_SUCH_USER: _ClassVar[Failed.Code]
        TOO_LARGE: _ClassVar[Failed.Code]
        BLOCKED: _ClassVar[Failed.Code]
        NOT_FRIEND: _ClassVar[Failed.Code]
        UNAVAILABLE: _ClassVar[Failed.Code]
        TOO_FAST: _ClassVar[Failed.Code]
        NOT_ALLOWED: _ClassVar[Failed.Code]
        INBOX_FULL: _ClassVar[Failed.Code]
        NO_SPACE: _ClassVar[Failed.Code]
        HISTORY_FULL: _ClassVar[Failed.Code]
        NOT_MEMBER: _ClassVar[Failed.Code]
    UNSPECIFIED: Failed.Code
    NO_SUCH_USER: Failed.Code
    TOO_LARGE: Failed.Code
    BLOCKED: Failed.Code
    NOT_FRIEND: Failed.Code
    UNAVAILABLE: Failed.Code
    TOO_FAST: Failed.Code
    NOT_ALLOWED: Failed.Code
    INBOX_FULL: Failed.Code
    NO_SPACE: Failed.Code
    HISTORY_FULL: Failed.Code
    NOT_MEMBER: Failed.Code
    STREAM_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    stream: int
    id: int
    code: Failed.Code
    text: str
    retry_after_ms: int
    def __init__(self, stream: _Optional[int] = ..., id: _Optional[int] = ..., code: _Optional[_Union[Failed.Code, str]] = ..., text: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("code", "text", "retry_after_ms")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNSPECIFIED: _ClassVar[Goodbye.Code]
        MALFORMED: _ClassVar[Goodbye.Code]
        FRAME_TOO_LARGE: _ClassVar[Goodbye.Code]
        NOT_LOGGED_IN: _ClassVar[Goodbye.Code]
        BAD_TOKEN: _ClassVar[Goodbye.Code]
        REPLACED: _ClassVar[Goodbye.Code]
        MOVE: _ClassVar[Goodbye.Code]
        TRY_AGAIN: _ClassVar[Goodbye.Code]
        WINDOW_EXCEEDED: _ClassVar[Goodbye.Code]
        TIMED_OUT: _ClassVar[Goodbye.Code]
        LOGGED_OUT: _ClassVar[Goodbye.Code]
        TOO_SLOW: _ClassVar[Goodbye.Code]
        DEVICE_REMOVED: _ClassVar[Goodbye.Code]
        ACCOUNT_DISABLED: _ClassVar[Goodbye.Code]
    UNSPECIFIED: Goodbye.Code
    MALFORMED: Goodbye.Code
    FRAME_TOO_LARGE: Goodbye.Code
    NOT_LOGGED_IN: Goodbye.Code
    BAD_TOKEN: Goodbye.Code
    REPLACED: Goodbye.Code
    MOVE: Goodbye.Code
    TRY_AGAIN: Goodbye.Code
    WINDOW_EXCEEDED: Goodbye.Code
    TIMED_OUT: Goodbye.Code
    LOGGED_OUT: Goodbye.Code
    TOO_SLOW: Goodbye.Code
    DEVICE_REMOVED: Goodbye.Code
    ACCOUNT_DISABLED: Goodbye.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: Goodbye.Code
    text: str
    retry_after_ms: int
    def __init__(self, code: _Optional[_Union[Goodbye.Code, str]] = ..., text: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
