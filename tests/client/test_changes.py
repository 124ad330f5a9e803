"""Which change of a message counts, in whatever order they come; and the bound of what is remembered."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from client.changes import MAX_REVISION, Change, Changes, Target, change_of
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, About, Message

TARGET = Target("bob", "bob", "b1", 7, 1)


def edit(revision: int, device: str = "b1", number: int = 2, target: Target = TARGET, body: bytes = b"") -> Change:
    return Change(target, revision, (device, 7, number), body or f"{revision}{device}{number}".encode(), 5)


def erased(target: Target = TARGET) -> Change:
    return Change(target, erased_by="bob")


def wire(kind: int, **more: object) -> Message:
    values = {"revision": 1, "about": About(from_device="b1", stream=7, ids=[1]), "body": b"new"} | more
    return Message(from_id="bob", from_device="b2", stream=9, id=3, settled=1, dest_id="alice", kind=kind, **values)  # type: ignore[arg-type]


def test_what_a_message_says() -> None:
    assert change_of(wire(EDIT), "bob") == Change(TARGET, 1, ("b2", 9, 3), b"new")
    assert change_of(wire(ERASE, body=b""), "bob") == Change(TARGET, erased_by="bob")
    assert change_of(wire(TEXT), "bob") is None
    assert change_of(wire(EDIT, revision=0), "bob") is None
    assert change_of(wire(EDIT, revision=MAX_REVISION + 1), "bob") is None
    assert change_of(wire(EDIT, about=About(from_device="b1", stream=7, ids=[1, 2])), "bob") is None
    assert change_of(wire(ERASE, about=About(from_device="b1", ids=[1])), "bob") is None


def test_no_order_matters() -> None:
    found = set[Change | None]()
    for order in itertools.permutations([edit(1), edit(2, "b1"), edit(2, "b2"), edit(2, "b2", 1)]):
        changes = Changes()
        for change in order:
            changes.apply(change)
        found.add(changes.get(TARGET))
    assert found == {edit(2, "b2")}


@given(st.permutations([edit(1), edit(2**20), erased(), edit(3), erased()]))
def test_erased_is_final(order: list[Change]) -> None:
    changes = Changes()
    for change in order:
        changes.apply(change)
    assert changes.get(TARGET) == erased()
    assert not changes.apply(edit(2**20, "z"))


def test_only_in_its_conversation_and_of_its_author() -> None:
    changes = Changes()
    changes.apply(edit(1, target=TARGET._replace(peer="carol")))
    changes.apply(edit(1, target=TARGET._replace(author="mallory")))
    assert changes.get(TARGET) is None


def test_who_changes_much_forgets_nobody_elses() -> None:
    kept, dropped = list[Change](), list[Target]()
    changes = Changes(kept.append, dropped.append, most=10, most_bytes=1000)
    changes.apply(erased())
    for number in range(1, 100):
        changes.apply(edit(1, target=Target("mallory", "mallory", "m1", 1, number)))
    assert len(changes) == 10
    assert changes.get(TARGET) == erased()
    assert len(dropped) == 90
    changes.apply(edit(1, target=Target("mallory", "mallory", "m1", 1, 1), body=b"x" * 990))
    assert len(changes) < 10
    for number in range(20):
        changes.apply(erased(Target("mallory", "mallory", "m1", 2, number)))
    assert len(changes) == 10  # of erasures alone the oldest go
    assert changes.get(TARGET) == erased()
