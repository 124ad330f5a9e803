"""Files: uploads that can be resumed (tus 1.0, https://tus.io), and downloads in ranges.

Owns `/v1/files`. No file is ever whole in memory: uploads become pieces in the store, downloads are pieces of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask import Response, request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import dump_options_header
from werkzeug.wrappers import Response as BaseResponse

from protocol.errors import InvalidIdError, NotFoundError
from protocol.ids import check_user_id, is_group_id
from store.interface import File
from userapi import audit
from userapi.callers import DEVICE, caller, while_logged_in
from userapi.endpoints.uploads import DAY_MS, HOUR_MS, TUS, check_room, check_version, metadata, number
from userapi.http.endpoint import USER_IN_PATH, Area, HeaderText, PathText, endpoint
from userapi.http.fields import Answer, Flag, Number, Text, user_id
from userapi.http.handover import BODY_LEFT, MORE
from userapi.http.pages import IF_NONE_MATCH
from userapi.http.problems import HEADERS, ProblemError
from userapi.http.ranges import wanted_span
from userapi.service import Service, service

area = Area("files", "Files: resumable uploads by tus 1.0, downloads in ranges")

CHUNK = "application/offset+octet-stream"
ANY_TYPE = "application/octet-stream"
FILE_IN_PATH = PathText("file", "A file's id, as its upload was answered.", "[0-9a-f]{32}", "0" * 31 + "1")
TUS_HEADER = HeaderText("Tus-Resumable", "The version of tus.", r"1\.0\.0", required=True)
_BYTES = "[0-9]{1,15}"


class FileInfo(Answer):
    """What a file is."""

    file = Text("Its id.")
    owner = user_id("Who has uploaded it.")
    name = Text("What its owner called it.")
    media_type = Text("What kind of file its owner says it is.", example="image/jpeg")
    size = Number("Bytes.")
    complete = Flag("All of it has arrived, and can be downloaded.")
    sha256 = Text("Hexadecimal; until it is complete, what its owner says that it will be.")
    expires_ms = Number("When it is gone, sooner if it is not complete; Unix time in milliseconds.")


# Uploads.


@endpoint(
    area,
    "POST",
    "/v1/files",
    status=201,
    headers=(
        TUS_HEADER,
        HeaderText("Upload-Length", "Bytes of the whole file.", _BYTES, required=True),
        HeaderText(
            "Upload-Metadata",
            "Pairs of a key and a value in base64, by commas: filename, filetype, sha256 (hexadecimal), "
            "readers (user ids, by commas). All may be left out.",
        ),
    ),
    guard=DEVICE,
    problems=(
        "malformed_upload",
        "wrong_tus_version",
        "file_too_large",
        "too_many_readers",
        "invalid_user_id",
        "too_many_uploads",
        "too_many_file_bytes",
        "no_space",
    ),
)
def begin_upload() -> BaseResponse:
    """Begin an upload. `Location` is where its bytes go (PATCH); it is readable by you and those you name."""
    check_version()
    parts, user = service(), caller().user
    size = number("Upload-Length")
    if size > parts.settings.max_file_bytes:
        raise ProblemError("file_too_large", f"the file is larger than {parts.settings.max_file_bytes} bytes")
    told = metadata(request.headers.get("Upload-Metadata", ""))
    readers = _readers([user for user in told.get("readers", "").split(",") if user], parts)
    now_ms = int(parts.clock() * 1000)
    file = File(
        secrets.token_hex(16),
        user,
        told.get("filename", ""),
        told.get("filetype", ANY_TYPE),
        size,
        now_ms,
        now_ms + int(parts.settings.file_ttl_days * DAY_MS),
        readers,
        told.get("sha256", ""),
        upload_expires_ms=now_ms + int(parts.settings.upload_ttl_hours * HOUR_MS),
    )
    check_room(parts, user, now_ms, 1, size)
    parts.bridge.call(parts.bridge.store.create_file, file)
    try:
        # Once more, with it: of several at once none may pass beyond the limits.
        check_room(parts, user, now_ms, 0, 0)
    except ProblemError:
        parts.bridge.call(parts.bridge.store.remove_file, file.file)
        raise
    if size == 0:
        parts.bridge.call(parts.bridge.store.finish_file, file.file, hashlib.sha256().hexdigest())
    return Response(status=201, headers={"Location": f"/v1/files/{file.file}", "Upload-Offset": "0", **TUS})


@endpoint(
    area,
    "PATCH",
    "/v1/files/<file>",
    status=204,
    headers=(TUS_HEADER, HeaderText("Upload-Offset", "Where these bytes begin.", _BYTES, required=True)),
    takes=CHUNK,
    parts=(FILE_IN_PATH,),
    guard=DEVICE,
    problems=(
        "malformed_upload",
        "wrong_tus_version",
        "no_such_file",
        "wrong_offset",
        "wrong_checksum",
        "file_too_large",
        "unsupported_media_type",
        "no_space",
    ),
)
def upload(file: str) -> BaseResponse:
    """Send bytes of an upload, from where it stands on. What has arrived before a connection breaks is kept."""
    check_version()
    if request.mimetype != CHUNK:
        raise ProblemError("unsupported_media_type", f"send the bytes with Content-Type: {CHUNK}")
    parts = service()
    found = _own(file)
    offset = number("Upload-Offset")
    store = parts.bridge.store
    if found.complete or offset != parts.bridge.call(store.file_length, file):
        raise ProblemError("wrong_offset")
    request.max_content_length = found.size - offset
    told = request.environ.get(BODY_LEFT) or 0
    if max(told, (request.content_length or 0) + bool(request.environ.get(MORE))) > found.size - offset:
        raise ProblemError("file_too_large", f"the upload has {found.size - offset} bytes to come")
    pieces = _pieces(parts.settings.file_piece_bytes, found.size - offset)
    for piece in while_logged_in(parts, caller(), pieces):
        if not parts.bridge.call(store.append_file, found, offset, piece):
            raise ProblemError("wrong_offset", "the same file is being uploaded by another request, too")
        offset += len(piece)
    if offset == found.size:
        _finish(parts, found)
    return Response(status=204, headers={"Upload-Offset": str(offset), **TUS})


def _pieces(size: int, left: int) -> Iterator[bytes]:
    """What the request brings, in pieces; what came before it broke, too."""
    while left:
        wanted, piece = min(size, left), bytearray()
        try:
            while len(piece) < wanted and (data := request.stream.read(wanted - len(piece))):
                piece += data
        except ClientDisconnected:
            pass
        if piece:
            yield bytes(piece)
        if len(piece) < wanted:
            return
        left -= wanted


def _finish(parts: Service, file: File) -> None:
    """All is there: is it what it should be?"""
    digest = hashlib.sha256()
    for data in _content(parts, file.file, 0, file.size):
        digest.update(data)
    if file.sha256 not in ("", digest.hexdigest()):
        parts.bridge.call(parts.bridge.store.remove_file, file.file)
        raise ProblemError("wrong_checksum")
    parts.bridge.call(parts.bridge.store.finish_file, file.file, digest.hexdigest())


@endpoint(
    area,
    "DELETE",
    "/v1/files/<file>",
    status=204,
    parts=(FILE_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_file",),
)
def delete_file(file: str) -> BaseResponse:
    """Remove a file of yours, or give its upload up."""
    _own(file)
    parts = service()
    parts.bridge.call(parts.bridge.store.remove_file, file)
    return Response(status=204, headers=TUS)


# Readers.


@endpoint(
    area,
    "PUT",
    "/v1/files/<file>/readers/<user>",
    status=204,
    parts=(FILE_IN_PATH, USER_IN_PATH),
    guard=DEVICE,
    problems=("no_such_file", "invalid_user_id", "too_many_readers"),
)
def add_reader(file: str, user: str) -> BaseResponse:
    """Let a user read a file of yours."""
    found, parts = _own(file), service()
    _readers([user, *(found.readers - {user})], parts)
    try:
        parts.bridge.call(parts.bridge.store.add_reader, file, user)
    except NotFoundError as error:
        raise ProblemError("no_such_file", str(error)) from None
    if user not in found.readers:
        audit.note("file_reader_added", found.owner, file=file, reader=user)
    return Response(status=204)


@endpoint(
    area,
    "DELETE",
    "/v1/files/<file>/readers/<user>",
    status=204,
    parts=(FILE_IN_PATH, USER_IN_PATH),
    guard=DEVICE,
    problems=("no_such_file",),
)
def remove_reader(file: str, user: str) -> BaseResponse:
    """Let a user read a file of yours no more; what they have downloaded, they have. Once more is no error."""
    found, parts = _own(file), service()
    try:
        parts.bridge.call(parts.bridge.store.remove_reader, file, user)
    except NotFoundError as error:
        raise ProblemError("no_such_file", str(error)) from None
    if user in found.readers:
        audit.note("file_reader_removed", found.owner, file=file, reader=user)
    return Response(status=204)


def _readers(users: list[str], parts: Service) -> frozenset[str]:
    if len(users) > parts.settings.max_file_readers:
        raise ProblemError("too_many_readers")
    try:
        return frozenset(map(check_user_id, users))
    except InvalidIdError as error:
        raise ProblemError("invalid_user_id", str(error)) from None


# Downloads.


@endpoint(
    area,
    "GET",
    "/v1/files/<file>",
    answer=FileInfo,
    parts=(FILE_IN_PATH,),
    guard=DEVICE,
    problems=(
        "no_such_file",
        "wrong_checksum",
    ),
)
def file_info(file: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Tell what a file is; by HEAD, also how far its upload has come (`Upload-Offset`)."""
    found, parts = _readable(file), service()
    offset = found.size if found.complete else parts.bridge.call(parts.bridge.store.file_length, file)
    if offset == found.size and not found.complete:
        _finish(parts, found)  # whoever took the last bytes did not live to see it
        found = _readable(file)
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(found.size), **TUS}
    return {
        "file": found.file,
        "owner": found.owner,
        "name": found.name,
        "media_type": found.media_type,
        "size": found.size,
        "complete": found.complete,
        "sha256": found.sha256,
        "expires_ms": found.gone_ms,
    }, headers


@endpoint(
    area,
    "GET",
    "/v1/files/<file>/content",
    headers=(
        HeaderText("Range", "bytes=first-last, one range."),
        HeaderText("If-Range", "The `ETag` of what you have a part of; of another file all comes."),
        IF_NONE_MATCH,
    ),
    gives=ANY_TYPE,
    also={206: "The range.", 304: "You have it."},
    parts=(FILE_IN_PATH,),
    guard=DEVICE,
    problems=("no_such_file", "incomplete_file", "wrong_range"),
)
def download(file: str) -> BaseResponse:
    """Download a file, or a range of it."""
    found, parts = _readable(file), service()
    if not found.complete:
        raise ProblemError("incomplete_file")
    headers = {
        "ETag": f'"{found.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Disposition": _disposition(found.name),
        "Content-Security-Policy": f"{HEADERS['Content-Security-Policy']}; sandbox",
    }
    if request.if_none_match.contains_weak(found.sha256):
        return Response(status=304, headers=headers)
    first, last, status = 0, found.size, 200
    span = wanted_span(found.size, headers["ETag"])
    if span is not None:
        first, last, status = *span, 206
        headers["Content-Range"] = f"bytes {first}-{last - 1}/{found.size}"
    content = while_logged_in(parts, caller(), _content(parts, file, first, last))
    response = Response(content, status, headers, content_type=_harmless(found.media_type))
    response.content_length = last - first
    return response


def _harmless(media_type: str) -> str:
    """A type by which a browser runs nothing in our name, whatever the file's owner says that it is."""
    kind = media_type.lower()
    is_shown = kind.startswith(("image/", "audio/", "video/")) and "xml" not in kind
    return media_type if is_shown or kind == "text/plain" else ANY_TYPE


def _content(parts: Service, file: str, first: int, last: int) -> Iterator[bytes]:
    """Bytes from `first` to before `last`, piece by piece."""
    while first < last:
        data = parts.bridge.call(parts.bridge.store.read_file, file, first)[: last - first]
        if not data:
            return  # it was removed meanwhile: the connection ends before its Content-Length
        first += len(data)
        yield data


def _disposition(name: str) -> str:
    """RFC 6266."""
    if name.isascii():
        return dump_options_header("attachment", {"filename": name or "file"})
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _readable(file: str) -> File:
    """Its owner's and its readers', and of whoever may see a kept message of its owner that names it.

    Raises `ProblemError`, the same for a file that is not there and for one that is not to be read.
    """
    parts, user = service(), caller().user
    found = parts.bridge.call(parts.bridge.store.file, file)
    if found is None or not (
        user == found.owner
        or user in found.readers
        or _is_in_a_reader(parts, found, user)
        or parts.bridge.call(parts.history.timelines.may_read_file, file, user)
    ):
        raise ProblemError("no_such_file")
    return found


def _is_in_a_reader(parts: Service, file: File, user: str) -> bool:
    """Whose picture it is, may be a group (`userapi.endpoints.groups`): who is in it now, reads it."""
    groups = [reader for reader in file.readers if is_group_id(reader)]
    found = parts.bridge.call(parts.groups.store.groups, groups) if groups else {}
    return any(group is not None and user in group.members for group in found.values())


def _own(file: str) -> File:
    parts = service()
    found = parts.bridge.call(parts.bridge.store.file, file)
    if found is None or found.owner != caller().user:
        raise ProblemError("no_such_file")
    return found
