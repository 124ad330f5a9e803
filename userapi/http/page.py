"""The web page: its files, built beforehand (`web/`), are served at `/` and `/assets/`.

Owns which files these are, how they are cached and compressed, and what the page may do in a browser. Reads them once,
at the start; what is asked for is looked up by its name, and never on disk.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, request

from protocol.errors import ConfigError
from userapi.http.problems import ProblemError
from userapi.settings import UserApiSettings

FOLDER = Path(__file__).parents[1] / "page"
"""Where the package has the built files: index.html, and assets/ with a hash of each file's content in its name."""
ASSETS = "/assets/"
MAX_FILES = 200
MAX_BYTES = 16 * 1024 * 1024
"""Of all files together."""
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_PACKED_ALREADY = {".png", ".woff2"}
_WEBSOCKET = re.compile(r"(wss?://[A-Za-z0-9_.-]+(:\d+)?)(/[!-~]*)?")
_NOT_USED = (
    "accelerometer",
    "autoplay",
    "camera",
    "clipboard-read",
    "display-capture",
    "encrypted-media",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)
PERMISSIONS = ", ".join([*(f"{name}=()" for name in _NOT_USED), "clipboard-write=(self)", "fullscreen=(self)"])
TRUSTED_TYPES = "sparrow"
"""The page's one policy, for the address of its worker."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page, as it is sent."""

    body: bytes
    packed: bytes
    """By gzip; empty where that is not smaller."""
    media_type: str
    etag: str
    """Of `body`, strong, without quotes."""


def read(folder: Path, whose: str = "userapi.page", instead: str = ", or say userapi.page = false") -> dict[str, File]:
    """Path → file of the page that is built there.

    Raises `ConfigError`, which begins with `whose`, if it is not there, or not to be served. `instead`: what can be
    done instead of installing it.
    """
    found: dict[str, File] = {}
    size = 0
    try:
        for path, file in _files(folder):
            found[path] = _file(file)
            size += len(found[path].body)
            if len(found) > MAX_FILES or size > MAX_BYTES:
                raise ConfigError(f"{whose}: there is more in {folder} than a page has; look what is there")
    except OSError as error:
        raise ConfigError(
            f"{whose}: cannot read {error.filename} ({error.strerror}): install Sparrow anew{instead}"
        ) from error
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    yield "/", folder / "index.html"
    assets = folder / "assets"
    for file in sorted(assets.iterdir()) if assets.is_dir() else ():
        if file.is_file() and not file.name.startswith("."):
            yield f"{ASSETS}{file.name}", file


def _file(path: Path) -> File:
    body = path.read_bytes()
    # No time in it, so that all processes have the same bytes under the same tag.
    packed = b"" if path.suffix in _PACKED_ALREADY else gzip.compress(body, 9, mtime=0)
    media_type = _TYPES.get(path.suffix, "application/octet-stream")
    return File(body, packed if len(packed) < len(body) else b"", media_type, hashlib.sha256(body).hexdigest()[:32])


def is_of_page(path: str) -> bool:
    """Whether a request for this path is for the page, and not for the API."""
    return path == "/" or path.startswith(ASSETS)


def policy(connectors: Iterable[str]) -> str:
    """The page's Content-Security-Policy: no code but its own files, and talk to us and these connectors only."""
    reached = " ".join(["'self'", *dict.fromkeys(filter(None, map(_source, connectors)))])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src blob:; "
        f"font-src 'self'; connect-src {reached}; worker-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        f"trusted-types {TRUSTED_TYPES}"
    )


def _source(address: str) -> str:
    """What a policy calls a connector; empty where browsers cannot go there.

    A policy has no way to name an IPv6 address (CSP 3, 2.3.1); `sparrow check` says so.
    """
    found = _WEBSOCKET.fullmatch(address)
    return found[1] if found else ""


def install(app: Flask, settings: UserApiSettings, folder: Path) -> None:
    """Serve the page that is built in `folder`, unless the settings say no. Raises `ConfigError`."""
    if not settings.page:
        return
    files = read(folder)
    headers = {
        "Content-Security-Policy": policy(settings.connectors),
        "Permissions-Policy": PERMISSIONS,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Vary": "Accept-Encoding",
    }

    def index() -> Response:
        return answer(files["/"], headers | {"Cache-Control": "no-cache"})

    def asset(name: str) -> Response:
        file = files.get(f"{ASSETS}{name}")
        if file is None:
            raise ProblemError("not_found")
        # Its name has a hash of its content: under this name there is never another one.
        return answer(file, headers | {"Cache-Control": "public, max-age=31536000, immutable"})

    app.add_url_rule("/", "page", index)
    app.add_url_rule(f"{ASSETS}<name>", "page_asset", asset)


def answer(file: File, headers: dict[str, str]) -> Response:
    """A file, for the request in hand: packed where the browser takes that, and 304 where it has it."""
    packed = bool(file.packed) and request.accept_encodings["gzip"] > 0
    etag = f"{file.etag}-gzip" if packed else file.etag
    response = Response(file.packed if packed else file.body, headers=headers, content_type=file.media_type)
    response.set_etag(etag)
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    if request.if_none_match.contains_weak(etag):
        response.status_code = 304
        response.set_data(b"")
        del response.headers["Content-Type"], response.headers["Content-Length"]
        response.headers.pop("Content-Encoding", None)
    return response
