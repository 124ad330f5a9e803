"""`sparrow check`: what is wrong with settings, for whom they are.

Owns for which roles each file is looked at, and what is said. The rules are `sparrow.config.checks`' business.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from sparrow.config import expiry
from sparrow.config.checks import ROLES, Finding, check
from sparrow.config.found import Found
from sparrow.config.roles import inferred
from sparrow.config.tree import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `sparrow check`, beside --config."""
    what = f"one of {', '.join(ROLES)}"
    parser.add_argument(
        "--role",
        dest="roles",
        nargs="+",
        default=[],
        choices=ROLES,
        metavar="ROLE",
        help=f"what processes with these settings are: {what} (default: as the settings look)",
    )
    parser.add_argument(
        "--try",
        dest="tried",
        nargs="*",
        choices=ROLES,
        metavar="ROLE",
        help="also try every address, key and certificate that such a process on this machine needs",
    )


def run(found: Found, options: argparse.Namespace) -> int:
    """Say what is wrong; 1 if something is serious."""
    findings: list[Finding] = []
    roles_of: list[tuple[str, ...]] = []
    for _, settings in found.files:
        roles = tuple(dict.fromkeys([*options.roles, *(options.tried or [])])) or inferred(settings)
        roles_of.append(roles)
        findings += check(settings, roles)
        findings += expiry.findings(settings, roles, absent=options.tried is not None)
        if options.tried is not None:
            findings += asyncio.run(_tried(settings, tuple(options.tried) or roles))
    together = tuple(dict.fromkeys(role for roles in roles_of for role in roles))
    if len(found.files) > 1:  # what none of them shows alone
        findings += check(found.settings, together)
    for finding in dict.fromkeys(findings):
        print(f"{'error' if finding.serious else 'warning'}: {finding.key}: {finding.text}")
    if not findings:
        print(f"nothing to complain about, as of {_listed(together)}")
    return 1 if any(finding.serious for finding in findings) else 0


async def _tried(settings: Settings, roles: tuple[str, ...]) -> list[Finding]:
    from sparrow.config.preflight import try_out

    return [finding async for finding in try_out(settings, roles)]


def _listed(roles: Sequence[str]) -> str:
    names = {
        **{"node": "a node", "connector": "a connector", "broker": "a broker", "userapi": "a user API"},
        "operator": "the operator's page",
    }
    return ", ".join(names[role] for role in roles)
