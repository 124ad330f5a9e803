"""`sparrow chat` with an OpenID provider: the browser that comes back, one on another machine, and what is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from werkzeug.serving import make_server

from client import Oidc, UserApi, parse_oidc_answer
from client.credentials import DEVICE, TOKEN
from client.journal import SqliteJournal
from protocol.errors import MisuseError, OidcError, TooManyDevicesError
from sparrow.chat import provider as chat_provider
from sparrow.chat.account import SignIn, SignInOptions, Terminal
from tests.userapi.conftest import Api, api_in
from tests.userapi.openid import Provider, providing
from tests.userapi.vouching import with_settings

Browser = Callable[[str], object]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as made:
        yield made


@pytest.fixture
def api(tmp_path: Path, provider: Provider) -> Iterator[Api]:
    """Over HTTP, at `api.url`."""
    with api_in(tmp_path) as made, with_settings(made, provider, tmp_path):
        made.now = time.time()
        yield made


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, api.client.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Scripted(Terminal):
    """Somebody who types what they are told to, and agrees or not."""

    def __init__(self, lines: list[str] | None = None, agrees: bool = True) -> None:
        super().__init__()
        self.interactive = True
        self.said: list[str] = []
        self.lines = lines or []
        self.yes = agrees

    def say(self, text: str) -> None:
        self.said.append(text)

    def typed(self) -> str | None:
        return self.lines.pop(0) if self.lines else None

    def agrees(self, question: str) -> bool:
        return self.yes

    def password(self, prompt: str) -> str:
        raise AssertionError("nobody is asked for a password")


def back(provider: Provider, subject: str = "4711", **claims: object) -> Browser:
    """A browser in which somebody logs in at the provider, and which comes back."""

    def browse(address: str) -> None:
        told = provider.log_in(address, subject, **claims)
        redirect = next(iter(provider.codes.values()))["redirect_uri"]
        # Browsers ask for more than that, and others may try the port.
        assert httpx.get(f"{redirect}favicon.ico", trust_env=False).status_code == 404
        stray = urlencode({"state": "another", "code": "c"})
        assert httpx.get(f"{redirect}?{stray}", trust_env=False).status_code == 200
        answer = httpx.get(f"{redirect}?{urlencode(told)}", trust_env=False)
        assert "Go on in the terminal" in answer.text
        assert told["code"] not in answer.text

    return browse


def sign_in(
    url: str, folder: Path, terminal: Scripted, browse: Browser | None, user: str = "alice", **more: object
) -> SqliteJournal:
    """Sign in, with that browser (None: there is none); returns the state."""

    def open_browser(address: str) -> bool:
        if browse is not None:
            threading.Thread(target=browse, args=(address,), daemon=True).start()
        return browse is not None

    options = SignInOptions(user, url, folder / "state" / f"{user}.db", None, False, oidc=True, **more)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_provider, "open_browser", open_browser)
        SignIn(options, terminal, sleep=lambda seconds: None).run()
    return SqliteJournal(options.state)


def test_a_browser_comes_back(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    terminal = Scripted()
    journal = sign_in(url, tmp_path, terminal, back(provider, preferred_username="alice"))
    assert journal.value(TOKEN)
    assert journal.value(DEVICE)
    journal.close()
    assert any("A browser was opened" in text for text in terminal.said)
    # Only the address is said: nothing by which somebody could end this login.
    assert not [text for text in terminal.said if "code_verifier" in text]


def test_a_browser_on_another_machine(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    """It ends at an address that leads nowhere there, and that somebody types in."""
    terminal = Scripted(["", "what?\n"])

    def say(text: str) -> None:
        terminal.said.append(text)
        if text.startswith("  http"):
            told = provider.log_in(text.strip(), preferred_username="alice")
            terminal.lines.append(f"http://127.0.0.1:54321/?{urlencode(told | {'state': 'another'})}\n")
            terminal.lines.append(f" http://127.0.0.1:54321/?{urlencode(told)}\n")

    terminal.say = say  # type: ignore[method-assign]
    journal = sign_in(url, tmp_path, terminal, None)
    assert journal.value(TOKEN)
    journal.close()
    assert any("Open this in a browser" in text for text in terminal.said)


@pytest.mark.full
def test_whoever_is_somebody_else_here_is_told(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(OidcError, match="sparrow chat bob"):
        sign_in(url, tmp_path, Scripted(), back(provider, preferred_username="bob"))


@pytest.mark.full
def test_the_provider_says_no(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    def refuse(address: str) -> None:
        told = provider.log_in(address)
        redirect = next(iter(provider.codes.values()))["redirect_uri"]
        httpx.get(f"{redirect}?{urlencode({'state': told['state'], 'error': 'access_denied'})}", trust_env=False)

    with pytest.raises(OidcError, match="access_denied"):
        sign_in(url, tmp_path, Scripted(), refuse)


@pytest.mark.full
def test_nobody_comes_back(
    api: Api, url: str, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_provider, "WAIT_S", 0.3)
    with pytest.raises(OidcError, match="nobody came back"):
        sign_in(url, tmp_path, Scripted(), None)


@pytest.mark.full
def test_who_chooses_a_name(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, oidc_newcomers="choose"):
        api.now = time.time()
        with pytest.raises(OidcError, match="--register"):
            sign_in(url, tmp_path, Scripted(agrees=False), back(provider))
        sign_in(url, tmp_path, Scripted(), back(provider)).close()
        with pytest.raises(OidcError, match="sparrow chat alice"):
            sign_in(url, tmp_path, Scripted(), back(provider), "bob")


@pytest.mark.full
def test_too_many_devices(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    with with_settings(api, provider, tmp_path, max_devices=1):
        sign_in(url, tmp_path, Scripted(), back(provider, preferred_username="alice")).close()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        with pytest.raises(TooManyDevicesError):
            sign_in(url, elsewhere, Scripted(agrees=False), back(provider))
        sign_in(url, elsewhere, Scripted(), back(provider)).close()


def test_without_passwords_it_goes_there_by_itself(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    def options(password: str | None) -> SignInOptions:
        return SignInOptions("alice", url, tmp_path / "state.db", password, False)

    with pytest.raises(AssertionError, match="asked for a password"):
        SignIn(options(None), Scripted()).run()
    with with_settings(api, provider, tmp_path, password_login=False), pytest.MonkeyPatch.context() as patch:
        api.now = time.time()
        browse = back(provider, preferred_username="alice")
        patch.setattr(
            chat_provider, "open_browser", lambda address: not threading.Thread(target=browse, args=(address,)).start()
        )
        with pytest.raises(MisuseError, match="OpenID provider"):
            SignIn(options("correct horse"), Scripted()).run()
        SignIn(options(None), Scripted()).run()


# The library.


async def test_the_library(api: Api, url: str, provider: Provider, tmp_path: Path) -> None:
    user_api = UserApi(url)
    oidc = Oidc(user_api)
    ways = await oidc.ways()
    assert (ways.passwords, ways.registration, ways.oidc_name) == (True, "open", "127.0.0.1")
    begun = await oidc.begin("http://127.0.0.1:1/")
    assert begun.verifier not in repr(begun)
    told = provider.log_in(begun.url, preferred_username="alice")
    answer = parse_oidc_answer(f"http://127.0.0.1:1/?{urlencode(told)}")
    assert answer is not None
    other = await oidc.begin("http://127.0.0.1:1/")
    with pytest.raises(OidcError, match="not begun here"):
        await oidc.redeem(other, answer)
    ticket = await oidc.redeem(begun, answer)
    assert (ticket.user, ticket.is_new) == ("alice", True)
    with pytest.raises(OidcError):
        await oidc.redeem(begun, answer)  # good once
    login = await user_api.enter("alice", ticket.ticket, label="here")
    assert (login.user, (await user_api.enter("alice", ticket.ticket)).device) == ("alice", login.device)
    with pytest.raises(MisuseError):
        await oidc.begin("https://evil.example/")


def test_what_is_no_answer() -> None:
    for address in ("", "x", "http://127.0.0.1:1/", "/?state=s", "/?code=c", "http://[::1", "/favicon.ico"):
        assert parse_oidc_answer(address) is None
    found = parse_oidc_answer("https://chat.example.net/#state=a+b&code=c")
    assert found is not None
    assert (found.state, found.code, found.issuer) == ("a b", "c", "")
