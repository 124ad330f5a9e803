"""What an application says of messages that it knows by name only: the part of a `Client` for them.

Owns the looking at names.
"""

from __future__ import annotations

from collections.abc import Iterable

from client import arguments
from client.engine import Engine
from client.messages import Sending
from protocol.ids import check_dest_id, check_user_id


class ByName:
    """The part of a `Client` that names messages."""

    def _open_engine(self) -> Engine:
        raise NotImplementedError

    async def mark_read(self, sender: str, device: str, stream: int, ids: Iterable[int]) -> None:
        """Do what `Message.mark_read` does, for messages that are known by name only, from `history()` for example.

        Of a group, `Client.groups.mark_read` does it.

        Args:
            sender: Their author.
            device: The author's device.
            stream: Their stream, from 1 to 2^64-1.
            ids: Their ids, each from 1 to 2^53-1; at most 65,536.

        Raises:
            InvalidIdError: `sender` or `device` is no id.
            MisuseError: No message has such a stream or ids, or there are too many.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        engine = self._open_engine()
        check_user_id(sender)
        await engine.read_names(sender, device, stream, arguments.marked(device, stream, ids))

    async def edit(self, dest: str, device: str, stream: int, number: int, text: str) -> Sending:
        """Do what `Message.edit` does, for a message that is known by name only, from `history()` for example.

        Args:
            dest: The user, or the group, it was written to.
            device: The device of ours it was written on; empty: this one.
            stream: Its stream.
            number: Its id in it.
            text: What it is to say.

        Raises:
            InvalidIdError: `dest` or `device` is no id.
            MisuseError: No message has such a name, it is no `TEXT`, or older than the service lets one edit.
            MessageTooLargeError: The text is longer than the server takes.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        engine = self._named(dest, device, stream, number)
        return await engine.change(dest, device, stream, number, arguments.text("the text", text))

    async def erase(self, dest: str, device: str, stream: int, number: int) -> Sending:
        """Do what `Message.erase` does, for a message that is known by name only.

        Args:
            dest: The user, or the group, it was written to.
            device: The device of ours it was written on; empty: this one.
            stream: Its stream.
            number: Its id in it.

        Raises:
            InvalidIdError: `dest` or `device` is no id.
            MisuseError: No message has such a name.
            ClosedError: The client is not open, or is closed meanwhile.
            SparrowError: The one with which the session has ended, such as `ReplacedError` or `StateError`.
        """
        return await self._named(dest, device, stream, number).change(dest, device, stream, number, None)

    def _named(self, dest: str, device: str, stream: int, number: int) -> Engine:
        engine = self._open_engine()
        check_dest_id(dest)
        arguments.marked(device or engine.credentials.device, stream, [number])
        return engine
