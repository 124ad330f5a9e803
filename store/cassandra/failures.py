"""What the driver's errors mean to the one who runs the server.

Owns the texts. Sends nothing.
"""

from __future__ import annotations

from cassandra import (
    AuthenticationFailed,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    RequestExecutionException,
    Timeout,
    Unauthorized,
    Unavailable,
    WriteFailure,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException

from protocol.errors import ConfigError, SparrowError, StoreError
from store.cassandra.addresses import where
from store.settings import StoreSettings


def too_much_to_read(error: object) -> bool:
    """Whether a smaller part of the same partition may still be read: too many tombstones, or it took too long."""
    return isinstance(error, ReadFailure | ReadTimeout)


def refused_login(error: Exception) -> bool:
    """Whether a node refused our user and password."""
    if isinstance(error, NoHostAvailable):
        return any(isinstance(reason, AuthenticationFailed) for reason in _reasons(error))
    return isinstance(error, AuthenticationFailed)


def store_error(settings: StoreSettings, error: Exception) -> SparrowError:
    """`error` as one of ours, whose text names the address and the cure."""
    if isinstance(error, SparrowError):
        return error
    place = f"store {where(settings)}"
    if refused_login(error):
        return ConfigError(
            f"{place} refuses our login: put the user's name and password into the file "
            f"store.cassandra_credentials_file ({settings.cassandra_credentials_file or 'not set'})"
        )
    return StoreError(f"{place}: {_cure(settings, error)}")


def _cure(settings: StoreSettings, error: Exception) -> str:
    match error:
        case NoHostAvailable():
            return _unreachable(settings, error)
        case OperationTimedOut():
            limit = settings.cassandra_request_timeout_s
            return f"no answer within {limit:g} s: is a node overloaded or stuck? (store.cassandra_request_timeout_s)"
        case Unavailable():
            need, alive = error.required_replicas, error.alive_replicas
            return f"{alive} of the {need} replicas needed are alive: start the nodes that are down"
        case ReadTimeout() | Timeout():
            got, need = error.received_responses, error.required_responses
            return f"{got} of the {need} replicas needed answered in time: are nodes down or overloaded?"
        case ReadFailure() | WriteFailure():
            return f"replicas failed: look at their system.log ({_first_line(error)})"
        case Unauthorized():
            return f"our user lacks a permission: grant it MODIFY and SELECT on the keyspace ({_first_line(error)})"
        case RequestExecutionException():
            return f"it cannot at the moment ({_first_line(error)})"
    return f"{type(error).__name__}: {_first_line(error)}"


def _unreachable(settings: StoreSettings, error: NoHostAvailable) -> str:
    reasons = _reasons(error)
    if not reasons and settings.cassandra_local_dc:
        return (
            f'no node of the data centre "{settings.cassandra_local_dc}" (store.cassandra_local_dc) answers: '
            "is the name right, and are they running?"
        )
    detail = "; ".join(sorted({_first_line(reason) for reason in reasons}))
    text = "no node answers: is it running, and are store.cassandra_contact_points right?"
    return f"{text} ({detail})" if detail else text


def _reasons(error: NoHostAvailable) -> list[Exception]:
    errors = error.errors
    return list(errors.values()) if isinstance(errors, dict) else list(errors)


def _first_line(error: Exception) -> str:
    if isinstance(error, ConnectionException) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    return (str(error) or type(error).__name__).splitlines()[0]
