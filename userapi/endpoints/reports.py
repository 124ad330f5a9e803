"""Reports of what somebody was written, and what operators do about it.

Owns a user's report, and under `/v1/admin` reading them and taking messages down. A report is a copy of the message as
it stood, and outlives it. Whoever reads one is in the audit log.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from marshmallow import fields

from protocol.errors import InvalidIdError
from protocol.ids import check_user_id, is_group_id
from store.timelines import KeptMessage, Report, conversation_of, members_of
from userapi import audit
from userapi.callers import caller
from userapi.endpoints.admin import ADMINISTRATOR
from userapi.endpoints.messages import (
    BODY_FIELDS,
    CONVERSATION_IN_PATH,
    NAME_IN_PATH,
    READER,
    AuthorQuery,
    Message,
    conversation_with,
    erase,
    name_of,
    rendered,
)
from userapi.http.endpoint import Area, Guard, PathText, endpoint
from userapi.http.fields import Answer, Number, Strict, Text, items, user_id
from userapi.http.pages import MAX_LIMIT
from userapi.http.problems import ProblemError
from userapi.service import service

area = Area("reports", "Reports of messages, and what those who run the service do about them")

OPERATOR = "operator"
"""What erased messages say of who took them down."""
_ID = "[0-9a-f]{1,64}"
_REPORT_IN_PATH = PathText("report", "The report's id.", _ID, "0" * 32)
_ONE_IN_PATH = PathText("one", "One of the two users.", "[a-z0-9._-]{1,64}", "alice")
_OTHER_IN_PATH = PathText("other", "The other one.", "[a-z0-9._-]{1,64}", "bob")
AUTHOR_IN_PATH = PathText("author", "Who of them wrote it.", "[a-z0-9._-]{1,64}", "bob")


def _check() -> None:
    ADMINISTRATOR.check()
    service().history.check()


KEEPER = Guard(ADMINISTRATOR.scheme, _check, (*ADMINISTRATOR.problems, "history_not_kept"))
"""An operator, where conversations are kept."""


class NewReport(Strict):
    """What a report says."""

    text = Text("What is wrong with the message.", max_length=2000, example="They threaten me.")


class KnownReport(Answer):
    """A report, as operators see it."""

    report = Text("Its id.")
    reporter = user_id("Who reported the message, which was written to them.")
    reported_ms = Number("When; Unix time in milliseconds.")
    group = Text("Of a message in a group: its id.", required=False)
    members = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The two users of the conversation; of a group, who wrote it and who reported it."},
    )
    message = fields.Nested(Message, required=True, metadata={"description": "What it was when it was reported."})
    text = Text("What the reporter says.")


class ReportsQuery(Strict):
    """Which part of the list."""

    after = Text("`next` of the page before; without it, the first page.", required=False, pattern=_ID, max_length=64)
    limit = Number("How many at most.", required=False, load_default=50, minimum=1, maximum=MAX_LIMIT, dump_default=50)
    bodies = Text(
        "false: messages come without what they say.", required=False, load_default="true", one_of=("true", "false")
    )


class Reports(Answer):
    """A page of them."""

    reports = items(KnownReport, "The one about the oldest message first.")
    next = Text("For the next page's `after`; null at the end.", allow_none=True)


@endpoint(
    area,
    "POST",
    "/v1/conversations/<conversation>/messages/<device>/<stream>/<n>/report",
    body=NewReport,
    query=AuthorQuery,
    status=204,
    parts=(CONVERSATION_IN_PATH, *NAME_IN_PATH),
    guard=READER,
    problems=("no_such_conversation", "not_member", "no_such_message"),
)
def report_message(
    body: dict[str, Any], query: dict[str, Any], conversation: str, device: str, stream: str, n: str
) -> tuple[str, int]:
    """Report a message that the other wrote you to those who run the service. Once more, it is the same report.

    They get a copy of it as it stands now, which stays when it is edited or erased.
    """
    parts, user, id_ = service(), caller().user, conversation_with(conversation)
    author = query.get("author", "") if is_group_id(conversation) else conversation
    name = name_of(author, device, stream, n)
    message = None
    if author not in (user, ""):
        message = parts.bridge.call(parts.history.timelines.message, id_, name, user)
    if message is None or message.erased_by:
        raise ProblemError("no_such_message")
    parts.limits.check_report(user)
    report = Report(_id(user, message), user, int(parts.clock() * 1000), id_, message, body["text"])
    parts.bridge.call(parts.history.timelines.report, report)
    audit.note("message_reported", author, report=report.report)
    return "", 204


def _id(reporter: str, message: KeptMessage) -> str:
    """In the order of what is reported; the same for the same, so that nobody fills the list with one message."""
    what = "/".join(map(str, (reporter, *message.name)))
    return f"{message.stamp:016x}{hashlib.sha256(what.encode()).hexdigest()[:16]}"


# For operators.


@endpoint(area, "GET", "/v1/admin/reports", query=ReportsQuery, answer=Reports, guard=KEEPER)
def list_reports(query: dict[str, Any]) -> dict[str, Any]:
    """Read reports, with the messages that they are about. Each that is read is in the audit log."""
    parts, limit, bodies = service(), query["limit"], query["bodies"] == "true"
    how = {} if bodies else {"bodies": "false"}
    found = parts.bridge.call(parts.history.timelines.reports, query.get("after", ""), limit)
    for one in found:
        audit.note("report_read", one.message.name.author, by=audit.ADMINISTRATOR, report=one.report, **how)
    return {
        "reports": [_known(one, bodies=bodies) for one in found],
        "next": found[-1].report if len(found) == limit else None,
    }


def _known(report: Report, *, bodies: bool) -> dict[str, Any]:
    message = rendered(report.message)
    if not bodies:
        message = {name: value for name, value in message.items() if name not in BODY_FIELDS}
    return {
        "report": report.report,
        "reporter": report.reporter,
        "reported_ms": report.reported_ms,
        **_where(report),
        "message": message,
        "text": report.text,
    }


def _where(report: Report) -> dict[str, Any]:
    if is_group_id(report.conversation):
        return {"group": report.conversation, "members": [report.message.name.author, report.reporter]}
    return {"members": list(members_of(report.conversation))}


@endpoint(
    area,
    "DELETE",
    "/v1/admin/reports/<report>",
    status=204,
    parts=(_REPORT_IN_PATH,),
    guard=KEEPER,
    problems=("no_such_report",),
)
def drop_report(report: str) -> tuple[str, int]:
    """Forget a report, and its copy of the message. Once more is no error."""
    if not re.fullmatch(_ID, report):
        raise ProblemError("no_such_report")
    parts = service()
    parts.bridge.call(parts.history.timelines.drop_report, report)
    audit.note("report_dropped", "-", by=audit.ADMINISTRATOR, report=report)
    return "", 204


@endpoint(
    area,
    "DELETE",
    "/v1/admin/conversations/<one>/<other>/messages/<author>/<device>/<stream>/<n>",
    status=204,
    parts=(_ONE_IN_PATH, _OTHER_IN_PATH, AUTHOR_IN_PATH, *NAME_IN_PATH),
    guard=KEEPER,
    problems=("no_such_message", "history_full"),
)
def take_down(one: str, other: str, author: str, device: str, stream: str, n: str) -> tuple[str, int]:
    """Take a message down: it is erased for both sides, and shows that an operator did it. May be repeated."""
    try:
        conversation = conversation_of(check_user_id(one), check_user_id(other))
    except InvalidIdError:
        raise ProblemError("no_such_message") from None
    if author not in (one, other):
        raise ProblemError("no_such_message")
    name = name_of(author, device, stream, n)
    reader = other if author == one else one
    if erase(conversation, name, reader, by=OPERATOR) is not None:
        audit.note("message_taken_down", author, by=audit.ADMINISTRATOR, other=reader, message="/".join(map(str, name)))
    return "", 204
