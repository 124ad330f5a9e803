"""What becomes of a batch: entries, edits, erasures.

Owns the answers, but those of groups' entries (`store.cassandra.group_archive`). What fails, fails for its own entries
(`store.cassandra.timeline_writing`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from protocol.errors import StoreError
from store.cassandra.archive_answers import FAILED, FULL, KEPT, NOT_ALLOWED, soundness
from store.cassandra.files import Files
from store.cassandra.group_archive import GroupArchive
from store.cassandra.timeline_members import TimelineMembers
from store.cassandra.timeline_rows import Body, TimelineRows
from store.cassandra.timeline_usage import Usage
from store.cassandra.timeline_writing import TimelineWriting
from store.group_rules import lives_of
from store.settings import HistorySettings, StoreSettings
from store.timeline_rules import (
    TEXT,
    Cell,
    day_of,
    edit_is_sound,
    entry_is_sound,
    erasure_is_sound,
    is_late,
    may_widen,
    stamp_ms_of,
)
from store.timelines import Archived, Audience, Edit, Entry, Erasure, Name, Result, is_group

_log = logging.getLogger("sparrow.store")
_DAY_MS = 86_400_000


class Archive:
    """Takes batches. `drop_copies` drops what waits of an erased message, from around these stamps."""

    def __init__(
        self,
        settings: StoreSettings,
        limits: HistorySettings,
        rows: TimelineRows,
        members: TimelineMembers,
        usage: Usage,
        writing: TimelineWriting,
        files: Files,
        now_ms: Callable[[], int],
        drop_copies: Callable[[Erasure, Sequence[int]], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._rows = rows
        self._members = members
        self._usage = usage
        self._writing = writing
        self._files = files
        self._now_ms = now_ms
        self._drop_copies = drop_copies
        self._groups = GroupArchive(rows, usage, writing, self._keep_file)

    async def archive(self, batch: Sequence[Entry | Edit | Erasure], keep_days: int) -> list[Archived]:
        """One answer for each, in order."""
        answers = [FAILED] * len(batch)
        places: dict[type, list[int]] = {Entry: [], GroupArchive: [], Edit: [], Erasure: []}
        for at, one in enumerate(batch):
            of_group = isinstance(one, Entry) and is_group(one.conversation)
            places[GroupArchive if of_group else type(one)].append(at)
        entries, of_groups, edits, erasures = places.values()
        first_day = (self._now_ms() - lives_of(keep_days, self._settings).group) // _DAY_MS
        if entries:
            some = await self._entries([batch[at] for at in entries], keep_days, first_day)  # type: ignore[misc]
            _fill(answers, entries, some)
        if of_groups:
            some = await self._groups.entries([batch[at] for at in of_groups], keep_days, first_day)  # type: ignore[misc]
            _fill(answers, of_groups, some)
        if edits:
            some = await self._edits([batch[at] for at in edits], keep_days, first_day)  # type: ignore[misc]
            _fill(answers, edits, some)
        if erasures:
            some = await self.erase([batch[at] for at in erasures], first_day)  # type: ignore[misc]
            _fill(answers, erasures, some)
        await self._usage.flush()
        return answers

    # Entries.

    async def _entries(self, entries: Sequence[Entry], keep_days: int, first_day: int) -> list[Archived]:
        answers = [soundness(entry_is_sound(entry), entry.stamp, entry.name) for entry in entries]
        if not await self._know(
            [entry.name.author for entry, answer in zip(entries, answers, strict=True) if answer is KEPT]
        ):
            return [FAILED if answer is KEPT else answer for answer in answers]
        chosen = []
        for number, entry in enumerate(entries):
            if answers[number] is not KEPT:
                continue
            author, usage = entry.name.author, self._usage
            if not usage.is_repeat(entry.conversation, entry.name):
                if not usage.take(author, day_of(entry.stamp), len(entry.body), first_day):
                    answers[number] = FULL
                    continue
                usage.counted(entry.conversation, entry.name)
            chosen.append(number)
        done = await self._writing.entries([entries[number] for number in chosen], keep_days)
        for number, well in zip(chosen, done, strict=True):
            entry = entries[number]
            if well and entry.file:
                well = await self._keep_file(entry, keep_days)
            answers[number] = KEPT if well else FAILED
        return answers

    async def _know(self, authors: Sequence[str]) -> bool:
        try:
            await self._usage.load(authors)
        except StoreError as error:
            _log.warning("what authors have cannot be read: %s", error)
            return False
        return True

    async def _keep_file(self, entry: Entry, keep_days: int) -> bool:
        """A file of the author's own lives as long as the message. Naming somebody else's gives no right to it."""
        try:
            file = await self._files.one(entry.file)
            if file is None or file.owner != entry.name.author:
                return True
            lives = lives_of(keep_days, self._settings)
            ends_ms = stamp_ms_of(entry.stamp) + (lives.group if entry.version else lives.kept)
            await self._members.name_file(
                entry.file, entry.conversation, entry.name, max(1, (ends_ms - self._now_ms()) // 1000)
            )
            await self._files.extend(file, ends_ms)
            body = (await self._rows.bodies(entry.conversation, [entry.name])).get(entry.name)
            if body is not None and body.erased_by:
                await self._end_file(entry.file, entry.conversation, entry.name)
        except StoreError as error:
            _log.warning("a file cannot be kept: %s", error)
            return False
        return True

    async def _end_file(self, file: str, conversation: str, name: Name) -> None:
        """The message that names it was erased: it is over if no other one does."""
        found = await self._files.one(file)
        if found is None or found.owner != name.author:
            return
        await self._members.unname_file(file, conversation, name)
        if not await self._members.named(file):
            await self._files.remove(file)

    # Edits.

    async def _edits(self, edits: Sequence[Edit], keep_days: int, first_day: int) -> list[Archived]:
        answers = [soundness(edit_is_sound(edit), edit.stamp, edit.target, edit.name) for edit in edits]
        sound = [number for number, answer in enumerate(answers) if answer is KEPT]
        targets = await self._targets([(edits[number].conversation, edits[number].target) for number in sound])
        if targets is None or not await self._know([edits[number].name.author for number in sound]):
            return [FAILED if answer is KEPT else answer for answer in answers]
        chosen: list[tuple[int, bool]] = []
        ranks: dict[tuple[str, Name, str, Audience], tuple[int, Name]] = {}
        for number in sound:
            edit = edits[number]
            target = targets.get((edit.conversation, edit.target))
            there = target is not None and (target.stamp is not None or bool(target.erased_by))
            if target is not None and there and not self._may_edit(edit, target):
                answers[number] = NOT_ALLOWED
                continue
            visible = target is None or target.stamp is None or target.is_for_both
            answers[number] = Archived(Result.KEPT, visible)
            cells = () if target is None else target.cells
            key = (edit.conversation, edit.target, edit.name.device, edit.audience)
            rank = (edit.revision, edit.name)
            if rank <= ranks.get(key, (0, edit.name)) or _is_known(edit, cells):
                continue
            if not self._usage.take(edit.name.author, day_of(edit.stamp), len(edit.body), first_day):
                answers[number] = FULL
                continue
            ranks[key] = rank
            chosen.append((number, there))
        done = await self._writing.edits([(edits[number], there) for number, there in chosen], keep_days)
        for (number, _), well in zip(chosen, done, strict=True):
            if not well:
                answers[number] = FAILED
        return answers

    def _may_edit(self, edit: Edit, target: Body) -> bool:
        if target.erased_by or target.kind != TEXT or target.stamp is None:
            return False
        return not is_late(edit.stamp, target.stamp, self._limits.edit_hours)

    async def _targets(self, wanted: Sequence[tuple[str, Name]]) -> dict[tuple[str, Name], Body] | None:
        """What stands there; None if that cannot be read."""
        by_conversation: dict[str, set[Name]] = {}
        for conversation, name in wanted:
            by_conversation.setdefault(conversation, set()).add(name)
        found = {}
        try:
            for conversation, names in by_conversation.items():
                for name, body in (await self._rows.bodies(conversation, names)).items():
                    found[conversation, name] = body
        except StoreError as error:
            _log.warning("what is to be changed cannot be read: %s", error)
            return None
        return found

    # Erasures.

    async def erase(self, erasures: Sequence[Erasure], first_day: int | None = None) -> list[Archived]:
        """Put markers; one answer for each. What erases nothing counts, since it is noted all the same; not without
        `first_day`, where an account ends."""
        answers = [soundness(erasure_is_sound(one), one.stamp, one.target) for one in erasures]
        sound = [number for number, answer in enumerate(answers) if answer is KEPT]
        targets = await self._targets([(erasures[number].conversation, erasures[number].target) for number in sound])
        if targets is None or not await self._know([erasures[number].target.author for number in sound]):
            return [FAILED if answer is KEPT else answer for answer in answers]
        for number in sound:
            one = erasures[number]
            target = targets.get((one.conversation, one.target))
            idle = target is None or target.stamp is None or bool(target.erased_by)
            own = one.by == one.target.author
            if (
                first_day is not None
                and idle
                and own
                and not self._usage.take(one.target.author, day_of(one.stamp), 0, first_day)
            ):
                answers[number] = FULL
        sound = [number for number in sound if answers[number] is KEPT]
        done = await self._writing.markers([erasures[number] for number in sound])
        for number, well in zip(sound, done, strict=True):
            erasure = erasures[number]
            target = targets.get((erasure.conversation, erasure.target))
            visible = target is None or target.stamp is None or target.is_for_both
            answers[number] = Archived(Result.KEPT if well else Result.FAILED, visible)
            if well:
                await self._follow(erasure, target)
        return answers

    async def _follow(self, erasure: Erasure, target: Body | None) -> None:
        """What goes with an erased message: its bytes in the count, its file, copies that wait."""
        try:
            stamps = []
            if target is not None and target.stamp is not None:
                stamps = [target.stamp, *[cell.stamp for cell in target.cells]]
            # Nothing of a group waits in inboxes.
            if not is_group(erasure.conversation):
                await self._drop_copies(erasure, stamps)
            if target is None or target.erased_by:
                return
            for stamp, size in (
                (target.stamp, len(target.value.body)),
                *[(cell.stamp, len(cell.body)) for cell in target.cells],
            ):
                if stamp is not None:
                    self._usage.add(erasure.target.author, day_of(stamp), 0, -size)
            if target.value.file:
                await self._end_file(target.value.file, erasure.conversation, erasure.target)
        except StoreError as error:
            _log.warning("what belongs to an erased message: %s", error)


def _is_known(edit: Edit, cells: Sequence[Cell]) -> bool:
    """Whether it changes nothing, or repeats under a new stamp what a block swallowed (P3)."""
    for cell in cells:
        if cell.name.device != edit.name.device or (edit.revision, edit.name) > (cell.revision, cell.name):
            continue
        if cell.audience is edit.audience:
            return True
        if cell.audience is Audience.AUTHOR and not may_widen(edit.stamp, cell.stamp):
            return True
    return False


def _fill(answers: list[Archived], places: Sequence[int], found: Sequence[Archived]) -> None:
    for at, answer in zip(places, found, strict=True):
        answers[at] = answer
