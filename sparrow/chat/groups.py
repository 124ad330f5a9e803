"""Groups as a chat names them, and what became of them in words.

Owns how a group is written: with a ~ before its name, so that it can be taken for no user. Asks nobody, shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from client import Group, GroupChange, Invitation, MyGroup
from protocol.errors import InvalidIdError, MisuseError
from protocol.ids import check_user_id, is_group_id
from sparrow.chat.text import short, who

MARK: Final = "~"
NAME_LENGTH: Final = 30
"""Characters of a name that are shown."""
ID_LENGTH: Final = 8
"""Of the id of a group whose name is not known, at least so much."""
SERVICE: Final = "the service"
"""Who does what nobody in the group has done."""


@dataclass(frozen=True, slots=True)
class KnownGroup:
    """A group of ours, as far as it is known here."""

    name: str
    """Its members' word; empty: not known."""
    role: str | None
    """Our own; None: we are not in it (any more), or it is not known yet."""


class Groups:
    """Of one user. Names may be alike and are others' words; labels are neither: each is one group's."""

    def __init__(self) -> None:
        self._known: dict[str, KnownGroup] = {}
        self._labels: dict[str, str] = {}
        self._invitations: dict[str, Invitation] = {}

    # What is known.

    def listed(self, groups: Iterable[MyGroup]) -> None:
        """These are all that we are in, or were in lately. One that was left keeps its name, if it is known."""
        for each in groups:
            self._put(each.group, each.name, each.role)
        self._label()

    def seen(self, group: Group) -> None:
        """This is one as it is now."""
        self._put(group.group, group.name, group.role)
        self._label()

    def kept(self, names: Mapping[str, str]) -> None:
        """There are such groups, and they were called so; whether we are in them is not known yet."""
        for group, name in names.items():
            self._put(group, name, None)
        self._label()

    def renamed(self, group: str, name: str) -> None:
        """It has another name."""
        known = self._known.get(group)
        self._put(group, name, None if known is None else known.role)
        self._label()

    def left(self, group: str) -> None:
        """We are in it no more."""
        self._put(group, "", None)
        self._label()

    def _put(self, group: str, name: str, role: str | None) -> None:
        known = self._known.get(group)
        self._known[group] = KnownGroup(name or ("" if known is None else known.name), role)

    def mine(self) -> dict[str, KnownGroup]:
        """Those that we are in, by label."""
        return {self._labels[group]: known for group, known in sorted(self._known.items()) if known.role is not None}

    def role(self, group: str) -> str | None:
        """Our own; None: we are not in it, or it is not known yet."""
        known = self._known.get(group)
        return None if known is None else known.role

    # Labels.

    def label(self, group: str) -> str:
        """How it is written."""
        return self._labels.get(group) or MARK + group[1 : 1 + ID_LENGTH]

    @property
    def labels(self) -> dict[str, str]:
        """Group → how it is written."""
        return self._labels

    def _label(self) -> None:
        names = {group: short(known.name.strip(), NAME_LENGTH) for group, known in self._known.items()}
        alike: dict[str, int] = {}
        for name in names.values():
            alike[name.casefold()] = alike.get(name.casefold(), 0) + 1
        taken: set[str] = set()
        self._labels = {}
        for group, name in sorted(names.items()):
            label = MARK + (name or group[1 : 1 + ID_LENGTH])
            if name and alike[name.casefold()] > 1:
                label += MARK + group[1:5]
            length = ID_LENGTH
            while label.casefold() in taken:  # somebody means to be taken for another group
                label = MARK + group[1 : 1 + length]
                length += 4
            taken.add(label.casefold())
            self._labels[group] = label

    def find(self, text: str) -> str:
        """The group that is written so: as a label, the beginning of one, or an id. Raises `MisuseError`."""
        if is_group_id(text):
            return text
        wanted = text.casefold()
        exact = [group for group, label in self._labels.items() if label.casefold() == wanted]
        found = exact or [group for group, label in self._labels.items() if label.casefold().startswith(wanted)]
        if len(found) > 1:
            raise MisuseError(f"which one? {', '.join(sorted(self._labels[group] for group in found)[:5])}")
        if not found:
            raise MisuseError(f"you know no group {short(text, NAME_LENGTH)}; /group lists yours")
        return found[0]

    def find_any(self, text: str) -> str:
        """The user or the group that is written so. Raises `MisuseError`."""
        if text.startswith(MARK):
            return self.find(text)
        try:
            return check_user_id(text)
        except InvalidIdError:
            # What can be no user may be a group's name.
            label = (MARK + text).casefold()
            for group, each in self._labels.items():
                if each.casefold() == label:
                    return group
            raise

    def split(self, text: str) -> tuple[str, str]:
        """`~NAME and what is said there`: the label, which may have spaces, and the rest."""
        spaced, folded = f"{text} ", f"{text} ".casefold()
        if len(spaced) == len(folded):
            for label in sorted(self._labels.values(), key=len, reverse=True):
                if folded.startswith(f"{label.casefold()} "):
                    return text[: len(label)], text[len(label) :].strip()
        name, _, rest = text.partition(" ")
        return name, rest.strip()

    # Invitations.

    @property
    def invitations(self) -> list[Invitation]:
        """All that are open, as far as it is known."""
        return list(self._invitations.values())

    def invited(self, invitations: Iterable[Invitation]) -> list[str]:
        """These are all that are open, now; returns what to say of it."""
        before, self._invitations = self._invitations, {each.group: each for each in invitations}
        return [invitation_text(each) for group, each in self._invitations.items() if group not in before]

    def answered(self, group: str) -> None:
        """An invitation is open no more."""
        self._invitations.pop(group, None)

    def invitation(self, text: str) -> str:
        """The group of the invitation that is meant; of the only one, if `text` is empty. Raises `MisuseError`."""
        open_ = self._invitations
        if not open_:
            raise MisuseError("nobody asks you to be in a group")
        if not text and len(open_) == 1:
            return next(iter(open_))
        if text in open_:
            return text
        wanted = text.removeprefix(MARK).casefold()
        found = [group for group, each in open_.items() if wanted and each.name.strip().casefold() == wanted]
        if len(found) != 1:
            raise MisuseError(f"which one? {', '.join(open_)}")
        return found[0]


def invitation_text(invitation: Invitation) -> str:
    """That somebody asks us."""
    name = short(invitation.name, NAME_LENGTH) or "a group"
    return (
        f"{who(invitation.by)} asks you to be in {MARK}{name} ({people(invitation.members)}): "
        f"/group accept {invitation.group} or /group decline {invitation.group}"
    )


def people(count: int) -> str:
    """So many."""
    return f"{count} member" if count == 1 else f"{count} members"


def change_text(change: GroupChange, user: str) -> str:
    """What became of a group, for `user`."""
    actor = SERVICE if not change.actor else "you" if change.actor == user else who(change.actor)
    other = "you" if change.user == user else who(change.user or "")
    value = short(change.value or "", NAME_LENGTH)
    texts = {
        "made": f"{actor} made the group {value}",
        "renamed": f"{actor} called the group {value}",
        "picture": f"{actor} {'changed' if value else 'took away'} the picture",
        "settings": f"{actor} set {value.replace('_', '-').replace('=', ' ')}",
        "added": f"{actor} added {other}",
        "joined": f"{other} joined",
        "left": f"{other} left",
        "removed": f"{actor} removed {other}",
        "role": f"{actor} made {other} {value}",
        "closed": f"{actor} closed the group",
    }
    return texts.get(change.kind) or f"{actor} changed the group ({short(change.kind, NAME_LENGTH)})"
