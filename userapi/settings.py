"""The user API's settings: every limit and its unit. Plain data; read from TOML by `sparrow.config.settings`."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.bounds import number, port


@dataclass(frozen=True, slots=True)
class UserApiSettings:
    """The HTTP service: where it listens, what it signs with, how it guards passwords."""

    name: str = "userapi-1"
    """In metrics and `sparrow status`."""
    listen_host: str = "127.0.0.1"
    """Where requests come in. 0.0.0.0 or :: is every address of this machine."""
    listen_port: int = port(7480)
    """Not 0: clients have to know it."""
    workers: int = number(1, 1, 1024)
    """Processes."""
    threads: int = number(8, 1, 1024)
    """Requests at once in each process, besides those that check a password."""
    password_threads: int = number(2, 1, 1024)
    """Passwords that each process checks at once; each check takes a core for some 25 ms (`argon2_time_cost`)."""
    max_waiting_requests: int = number(256, 1, 1_000_000)
    """Beyond those that have a thread, in each process; more get 503 and `Retry-After`."""
    max_waiting_passwords: int = number(32, 1, 1_000_000)
    """Requests that check a password and wait for their turn, at most; further ones are refused."""
    max_connections: int = number(1000, 1, 1_000_000)
    """Of each process. Beyond it whoever has most loses one that no request of is in hand."""
    max_connections_of_address: int = number(600, 1, 1_000_000)
    """Of each process, from one IPv4 address or IPv6 /64; not of `trusted_proxies` and `unlimited_addresses`. A browser
    opens up to six, so these are a hundred people who open the page at one time."""
    handshake_timeout_s: float = number(10.0, 0.1, 600)
    """A TLS handshake takes no longer."""
    header_timeout_s: float = number(15.0, 0.1, 600)
    """A request's header takes no longer, from its first byte or the connection's begin."""
    stall_timeout_s: float = number(30.0, 0.1, 3600)
    """A client that sends nothing of a body, or takes nothing of an answer, for so long is let go."""
    min_bytes_per_second: int = number(500, 1, 1_000_000_000)
    """Of a body or an answer, on average after `stall_timeout_s`: a slower client is let go."""
    listen_backlog: int = number(1024, 1, 1_000_000)
    """Connections that the kernel keeps until they are accepted; cut to `net.core.somaxconn`."""
    request_timeout_s: float = number(30.0, 0.05, 600)
    """A request that waits longer for the store gets 503."""
    stop_timeout_s: float = number(5.0, 0.01, 600)
    """Requests in hand have this long to finish at a stop."""
    max_body_bytes: int = number(16 * 1024, 1024, 64 * 1024 * 1024)
    """The largest body of a request that is not an upload."""
    max_file_bytes: int = number(100 * 1024 * 1024, 1, 10**13)
    """The largest file."""
    file_piece_bytes: int = number(256 * 1024, 1024, 16 * 1024 * 1024)
    """An upload is stored in pieces of this size, and none of it is ever longer in memory."""
    file_ttl_days: float = number(30.0, 0.0001, 3650)
    """A file is gone this long after its upload began."""
    upload_ttl_hours: float = number(24.0, 0.001, 365 * 24)
    """An upload that is not complete by then is gone."""
    max_file_bytes_per_day_of_account: int = number(2 * 1024 * 1024 * 1024, 1, 10**15)
    """Of all files that one user has begun to upload in the last 24 hours, and not removed."""
    max_uploads_of_account: int = number(20, 1, 100_000)
    """Files of one user that are not complete."""
    max_upload_bytes_of_account: int = number(512 * 1024 * 1024, 1, 10**15)
    """What these will have when they are; room that is kept for them."""
    max_file_readers: int = number(100, 1, 100_000)
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
    """The brokers' public CURVE key; two while it changes. Read again at SIGHUP, like all keys."""
    plain_links: bool = False
    """Allows links beyond this machine without CURVE."""
    broker_timeout_s: float = number(2.0, 0.05, 600)
    """A broker that has not answered by then is left for the next."""
    tls_certificate_file: str = ""
    """PEM of the certificate, with its chain; empty: plain HTTP. Read again when it changes, like the key."""
    tls_private_key_file: str = ""
    """PEM of the certificate's key, without a password."""
    plain_http: bool = False
    """Allows plain HTTP beyond this machine: everybody on the way can read passwords."""

    token_private_key_file: str = "var/token.key.pem"
    """PEM of the keys that sign login tokens, the one in use in front; made at the first start if it is missing."""
    token_public_key_file: str = "var/token.pub.pem"
    """PEM of their public halves, which connectors verify tokens with; made together with them."""
    access_token_lifetime_s: float = number(900.0, 1, 30 * 86400)
    """An access token is good for so long. What ends a login ends it before."""
    refresh_token_lifetime_s: float = number(60 * 86400.0, 1, 3650 * 86400)
    """A device that has not refreshed its token for so long logs in with the password again."""
    refresh_grace_s: float = number(300.0, 0.001, 86400, zero=True)
    """A refresh whose answer was lost may be repeated for so long, with the nonce of the first; beyond it, or with
    another nonce, it is taken for theft."""
    refresh_bare_grace_s: float = number(30.0, 0.001, 86400, zero=True)
    """The same for clients that send no nonce, as those of 0.1: a thief may be the one who repeats."""
    max_devices: int = number(20, 1, 1000)
    """Devices of one user, at most; each gets a copy of every message."""
    max_mutes: int = number(500, 1, 100_000)
    """Conversations that one user has muted at once."""
    further_device_delay_s: float = number(2.0, 0.001, 300, zero=True)
    """The token of a user's second and later device is handed out this long after the device was added, so that
    every broker knows of it by then; so is the answer to a change of a group. At least the brokers' `cache_s`."""

    registration: str = "open"
    """Who makes accounts: "open": everybody, their own; "invitation": everybody who has an invitation's code, see
    sparrow user invite; "admin": only those who run the service, by sparrow user add or POST /v1/admin/accounts."""
    max_invitations: int = number(1000, 1, 100_000)
    """Invitations to register that have not ended, at most."""
    reset_code_lifetime_s: float = number(86400.0, 60, 30 * 86400)
    """A code for a new password (sparrow user password) ends after so long."""
    identity: str = "own"
    """Whose passwords: "own", "ldap", "hook", or the name of an entry point in the group sparrow.identity."""
    identity_file: str = ""
    """What an entry point is given, such as the name of its own settings file."""
    identity_timeout_s: float = number(5.0, 0.05, 300)
    """Another user system, or an OpenID provider, that has not answered by then is away: the login gets 503."""
    identity_max_at_once: int = number(4, 1, 1000)
    """So many logins ask another user system at once in each process, and as many the OpenID provider;
    `max_waiting_passwords` more of each may wait."""
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
    password_login: bool = True
    """Lets people log in with a name and a password; false: with the OpenID provider alone."""
    oidc_issuer: str = ""
    """An OpenID provider by whose accounts people may log in, such as "https://id.example.net/realms/example", exactly
    as it calls itself; empty: none."""
    oidc_client_id: str = ""
    """What the provider knows us by."""
    oidc_client_secret_file: str = ""
    """And the secret that goes with it, in the first line; mode 0600. Empty: a public client, which has none."""
    oidc_ca_file: str = ""
    """PEM of the CAs that the provider's certificate may be of; empty: the system's."""
    oidc_name: str = ""
    """What people call the provider, such as "Example Ltd"; empty: its host."""
    oidc_scopes: tuple[str, ...] = ("openid", "profile")
    """What we ask the provider for."""
    oidc_required_claims: tuple[str, ...] = ()
    """What the provider must say of whoever logs in, all of it, such as "groups=chat": the claim is that, or has it in
    its list. Empty: everybody who has an account there may come."""
    oidc_newcomers: str = "named"
    """Who comes the first time: "named": gets an account by the name that the provider has for them, if it is one and
    free; "choose": chooses a name; "refused": only whom sparrow user link has given an account is let in."""
    oidc_user_claim: str = "preferred_username"
    """The claim that is this name. It counts once: afterwards people go by issuer and subject alone."""
    oidc_user_domain: str = ""
    """Where that claim is an address: the domain that is taken off, such as "example.net"; no other is."""
    oidc_redirect_uris: tuple[str, ...] = ()
    """Where else than at `page_url` and at programs on their own machine people come back to from the provider: other
    pages that use this API."""

    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Addresses or networks of proxies in front, whose `X-Forwarded-For` is believed; nobody else's is."""
    unlimited_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Addresses or networks for which the limits of an address below do not hold: this machine, tests."""
    max_requests_per_second_of_address: int = number(200, 1, 1_000_000_000, zero=True)
    """Of whatever kind, in each process, like all that follow. An IPv6 network /64 counts as one address. 0: no limit,
    here and below."""
    max_requests_per_second_of_account: int = number(50, 1, 1_000_000_000, zero=True)
    """Requests with an access token of one account, at most."""
    max_history_messages_per_second_of_account: int = number(10_000, 1, 1_000_000_000, zero=True)
    """Messages of conversations that one account reads, at most; ten seconds' worth at once."""
    max_group_changes_per_minute_of_account: int = number(60, 1, 1_000_000_000, zero=True)
    """Groups made, members added or invited, joins, new names, roles and the like by one account. Leaving, and removing
    somebody, is never refused."""
    max_group_changes_per_minute_of_group: int = number(120, 1, 1_000_000_000, zero=True)
    """Members who come in, new names, pictures and settings of one group."""
    max_group_invitations_per_hour_of_account: int = number(200, 1, 1_000_000_000, zero=True)
    """Of one account, into all of its groups."""
    max_registrations_per_hour_of_address: int = number(60, 1, 1_000_000_000, zero=True)
    """Set it to as many as share an address, where an office or a school registers in an hour."""
    max_logins_per_minute_of_address: int = number(60, 1, 1_000_000_000, zero=True)
    """Tries of a password, right or wrong."""
    max_logins_per_minute_of_account: int = number(30, 1, 1_000_000_000, zero=True)
    """Logins with the right password; and refreshes, of each device."""
    max_failed_logins_per_hour_of_account: int = number(300, 1, 1_000_000_000, zero=True)
    """From all addresses together. Beyond it nobody can log in to the account with a password for a while; who is
    logged in, is not hurt."""
    max_failed_logins_per_hour_of_account_and_address: int = number(20, 1, 1_000_000_000, zero=True)
    """Failed logins to one account from one address, at most; its owner's other addresses are not hurt."""

    admin_listen_host: str = "127.0.0.1"
    """Where /v1/admin is, if `admin_listen_port` is not 0."""
    admin_listen_port: int = port(0, zero=True)
    """A port of its own for /v1/admin, which is then nowhere else; 0: it is on `listen_port`."""
    admin_token_file: str = ""
    """The credential for /v1/admin, in the first line, at least 32 characters; mode 0600. Empty: there is no
    administration over HTTP."""

    password_min_length: int = number(8, 1, 4096)
    """Characters."""
    password_max_length: int = number(256, 1, 4096)
    """Characters."""
    password_breached_file: str = ""
    """Passwords that nobody may choose: SHA-1 hashes in ascending order, a line each, as haveibeenpwned's download has
    them. Empty: none."""
    argon2_time_cost: int = number(2, 1, 1000)
    """Passes over the memory; with the memory below, one check takes about 25 ms of CPU (50 at most is the aim)."""
    argon2_memory_kib: int = number(19 * 1024, 8, 4 * 1024 * 1024)
    """Memory of one check."""
    argon2_parallelism: int = number(1, 1, 64)
    """Lanes of one check; others than 1 change nothing but what a hash costs."""
