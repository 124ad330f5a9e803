"""The user API's settings: every limit and its unit. Plain data; read from TOML by `sparrow.config.settings`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UserApiSettings:
    """The HTTP service: where it listens, what it signs with, how it guards passwords."""

    listen_host: str = "127.0.0.1"
    listen_port: int = 7480
    workers: int = 1
    """Processes."""
    threads: int = 8
    """Requests at once in each process, besides those that check a password."""
    password_threads: int = 2
    """Passwords that each process checks at once; each check takes a core for some 25 ms (`argon2_time_cost`)."""
    max_waiting_requests: int = 256
    """Beyond those that have a thread, in each process; more get 503 and `Retry-After`."""
    max_waiting_passwords: int = 32
    """Requests that check a password and wait for their turn, at most; further ones are refused."""
    max_connections: int = 1000
    """Of each process. Beyond it whoever has most loses one that no request of is in hand."""
    max_connections_of_address: int = 600
    """Of each process, from one IPv4 address or IPv6 /64; not of `trusted_proxies` and `unlimited_addresses`. A browser
    opens up to six, so these are a hundred people who open the page at one time."""
    handshake_timeout_s: float = 10.0
    """A TLS handshake takes no longer."""
    header_timeout_s: float = 15.0
    """A request's header takes no longer, from its first byte or the connection's begin."""
    stall_timeout_s: float = 30.0
    """A client that sends nothing of a body, or takes nothing of an answer, for so long is let go."""
    min_bytes_per_second: int = 500
    """Of a body or an answer, on average after `stall_timeout_s`: a slower client is let go."""
    listen_backlog: int = 1024
    request_timeout_s: float = 30.0
    """A request that waits longer for the store gets 503."""
    stop_timeout_s: float = 5.0
    """Requests in hand have this long to finish at a stop."""
    max_body_bytes: int = 16 * 1024
    """The largest body of a request that is not an upload."""
    max_file_bytes: int = 100 * 1024 * 1024
    file_piece_bytes: int = 256 * 1024
    """An upload is stored in pieces of this size, and none of it is ever longer in memory."""
    file_ttl_days: float = 30.0
    """A file is gone this long after its upload began."""
    upload_ttl_hours: float = 24.0
    """An upload that is not complete by then is gone."""
    max_file_bytes_per_day_of_account: int = 2 * 1024 * 1024 * 1024
    """Of all files that one user has begun to upload in the last 24 hours, and not removed."""
    max_uploads_of_account: int = 20
    """Files of one user that are not complete."""
    max_upload_bytes_of_account: int = 512 * 1024 * 1024
    """What these will have when they are; room that is kept for them."""
    max_file_readers: int = 100
    """Users that its owner lets read one file."""
    page: bool = True
    """Serves the web page at `/`: a chat for browsers, which go to the ws:// and wss:// addresses of `connectors`."""
    page_url: str = ""
    """Where people find the page, such as "https://chat.example.net/": sparrow user prints links with codes then."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages whose scripts may call the API, such as "https://chat.example.net"; empty: none."""
    blocks_are_silent: bool = False
    """As `broker.blocks_are_silent`: whoever is blocked goes on seeing a friend. Set both alike."""
    who_may_write: str = "anyone"
    """As `broker.who_may_write`: with "friends", only these are invited into groups. Set both alike."""
    connectors: tuple[str, ...] = ("127.0.0.1:7400",)
    """host:port of the connectors, or tls://host:port of those that speak TLS, and ws://host:port or wss://host/path
    for WebSocket, as clients reach them; every login's answer names them. A node that only this machine reaches names
    its own where this is not set."""
    brokers: tuple[str, ...] = ("tcp://127.0.0.1:7410",)
    """ZeroMQ endpoints of brokers; one is enough, two are safer. They tell one another of changes."""
    curve_key_file: str = ""
    """The user API's own secret CURVE key (`sparrow keys userapi`); empty: no CURVE."""
    broker_public_key_file: str = ""
    """The brokers' public CURVE key."""
    plain_links: bool = False
    """Allows links beyond this machine without CURVE."""
    broker_timeout_s: float = 2.0
    """A broker that has not answered by then is left for the next."""
    tls_certificate_file: str = ""
    """PEM of the certificate, with its chain; empty: plain HTTP. Read again when it changes, like the key."""
    tls_private_key_file: str = ""
    """PEM of the certificate's key, without a password."""
    plain_http: bool = False
    """Allows plain HTTP beyond this machine: everybody on the way can read passwords."""

    token_private_key_file: str = "var/token.key.pem"
    """PEM of the key that signs login tokens; made at the first start if it is missing."""
    token_public_key_file: str = "var/token.pub.pem"
    """PEM of its public half, which connectors verify tokens with; made together with it."""
    access_token_lifetime_s: float = 900.0
    """An access token is good for so long. What ends a login ends it before."""
    refresh_token_lifetime_s: float = 60 * 86400.0
    """A device that has not refreshed its token for so long logs in with the password again."""
    refresh_grace_s: float = 300.0
    """A refresh whose answer was lost may be repeated for so long, with the nonce of the first; beyond it, or with
    another nonce, it is taken for theft."""
    refresh_bare_grace_s: float = 30.0
    """The same for clients that send no nonce, as those of 0.1: a thief may be the one who repeats."""
    max_devices: int = 20
    """Devices of one user, at most; each gets a copy of every message."""
    max_mutes: int = 500
    """Conversations that one user has muted at once."""
    further_device_delay_s: float = 2.0
    """The token of a user's second and later device is handed out this long after the device was added, so that
    every broker knows of it by then; so is the answer to a change of a group. At least the brokers' `cache_s`."""

    registration: str = "open"
    """Who makes accounts: "open": everybody, their own; "invitation": everybody who has an invitation's code, see
    sparrow user invite; "admin": only those who run the service, by sparrow user add or POST /v1/admin/accounts."""
    max_invitations: int = 1000
    """Invitations to register that have not ended, at most."""
    reset_code_lifetime_s: float = 86400.0
    """A code for a new password (sparrow user password) ends after so long."""
    identity: str = "own"
    """Whose passwords: "own", "ldap", "hook", or the name of an entry point in the group sparrow.identity."""
    identity_file: str = ""
    """What an entry point is given, such as the name of its own settings file."""
    identity_timeout_s: float = 5.0
    """Another user system that has not answered by then is away: the login gets 503."""
    identity_max_at_once: int = 4
    """So many logins ask another user system at once in each process; `max_waiting_passwords` more may wait."""
    ldap_url: str = ""
    """ldaps://host, or ldap://host; and :port if it is not 636 or 389."""
    ldap_start_tls: bool = True
    """Go over to TLS before anything else on ldap://; false: everybody on the way can read passwords."""
    ldap_ca_file: str = ""
    """PEM of the CAs that the directory's certificate may be of; empty: the system's."""
    ldap_user_dn: str = ""
    """Whom to bind as, with {user} for the user's id: uid={user},ou=people,dc=example,dc=net. Or else search:"""
    ldap_search_base: str = ""
    """Where the user's entry is sought, to bind as that: ou=people,dc=example,dc=net."""
    ldap_search_filter: str = "(uid={user})"
    """What it must match, with {user} for the user's id."""
    ldap_bind_dn: str = ""
    """Who searches; empty: nobody (anonymous)."""
    ldap_bind_password_file: str = ""
    """Their password, in the first line; mode 0600."""
    hook_url: str = ""
    """Where {"user", "password"} is sent as JSON by POST: 200 is yes, 401 and 403 are no, all else is an outage."""
    hook_ca_file: str = ""
    """PEM of the CAs that the hook's certificate may be of; empty: the system's."""
    hook_secret_file: str = ""
    """What the hook knows us by, in the first line, sent as `Authorization: Bearer`; mode 0600. Empty: nothing."""

    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of proxies in front, whose `X-Forwarded-For` is believed; nobody else's is."""
    unlimited_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Addresses or networks for which the limits of an address below do not hold: this machine, tests."""
    max_requests_per_second_of_address: int = 200
    """Of whatever kind, in each process, like all that follow. An IPv6 network /64 counts as one address. 0: no limit,
    here and below."""
    max_requests_per_second_of_account: int = 50
    """Requests with an access token of one account, at most."""
    max_history_messages_per_second_of_account: int = 10_000
    """Messages of conversations that one account reads, at most; ten seconds' worth at once."""
    max_group_changes_per_minute_of_account: int = 60
    """Groups made, members added or invited, joins, new names, roles and the like by one account. Leaving, and removing
    somebody, is never refused."""
    max_group_changes_per_minute_of_group: int = 120
    """Members who come in, new names, pictures and settings of one group."""
    max_group_invitations_per_hour_of_account: int = 200
    """Of one account, into all of its groups."""
    max_registrations_per_hour_of_address: int = 60
    """Set it to as many as share an address, where an office or a school registers in an hour."""
    max_logins_per_minute_of_address: int = 60
    """Tries of a password, right or wrong."""
    max_logins_per_minute_of_account: int = 30
    """Logins with the right password; and refreshes, of each device."""
    max_failed_logins_per_hour_of_account: int = 300
    """From all addresses together. Beyond it nobody can log in to the account with a password for a while; who is
    logged in, is not hurt."""
    max_failed_logins_per_hour_of_account_and_address: int = 20
    """Failed logins to one account from one address, at most; its owner's other addresses are not hurt."""

    admin_listen_host: str = "127.0.0.1"
    """Where /v1/admin is, if `admin_listen_port` is not 0."""
    admin_listen_port: int = 0
    """A port of its own for /v1/admin, which is then nowhere else; 0: it is on `listen_port`."""
    admin_token_file: str = ""
    """The credential for /v1/admin, in the first line, at least 32 characters; mode 0600. Empty: there is no
    administration over HTTP."""

    password_min_length: int = 8
    """Characters."""
    password_max_length: int = 256
    """Characters."""
    password_breached_file: str = ""
    """Passwords that nobody may choose: SHA-1 hashes in ascending order, a line each, as haveibeenpwned's download has
    them. Empty: none."""
    argon2_time_cost: int = 2
    """Passes over the memory; with the memory below, one check takes about 25 ms of CPU (50 at most is the aim)."""
    argon2_memory_kib: int = 19 * 1024
    """Memory of one check."""
    argon2_parallelism: int = 1
