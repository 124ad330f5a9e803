"""Pages and removals: what a connector asks becomes one call a turn, what comes back finds its session."""

from __future__ import annotations

import pytest

from fabric.records import END, FAILED, FRESH, PAGE, REMOVE, ROWS, pack_keys, record, unpack_rows
from store.interface import Page, PageQuery, Removal, Row
from tests.broker.bench import A, B, Bench


def page(to: str = "bob/b1", request: int = 1, *, cursor: bytes = b"", count: int = 10, flags: int = FRESH) -> bytes:
    return record(PAGE, flags=flags, to=to.encode(), by=cursor, count=count, session=20, attempt=request)


def test_a_page_comes_back_to_the_session_that_asked() -> None:
    bench = Bench()
    bench.receives(page(request=7, cursor=b"here"), connector=B)
    assert bench.asked("page") == [[PageQuery("bob", "b1", b"here", True, 10)]]
    bench.answer("page", [Page((Row(b"k1", 1, b"one"), Row(b"k2", 2, b"two")), b"there", False)])
    rec = bench.only(ROWS)
    assert (rec.connector, rec.session, rec.attempt, rec.by, rec.flags) == (B, 20, 7, b"there", 0)
    assert list(unpack_rows(rec.body)) == [(b"k1", 1, b"one"), (b"k2", 2, b"two")]


def test_the_end_of_a_pass_is_told() -> None:
    bench = Bench()
    bench.receives(page(flags=0, cursor=b"c"))
    assert not bench.asked("page")[0][0].fresh
    bench.answer("page", [Page((), b"c", True)])
    rec = bench.only(ROWS)
    assert (rec.flags, rec.body, rec.by) == (END, b"", b"c")


def test_pages_of_one_turn_are_one_call() -> None:
    bench = Bench()
    bench.receives(page("bob/b1", 1), page("ann/d1", 2), connector=A)
    (queries,) = bench.asked("page")
    assert [(query.user, query.device) for query in queries] == [("bob", "b1"), ("ann", "d1")]
    bench.answer("page", [Page((), b"c1", True), Page((Row(b"k", 1, b"x"),), b"c2", True)])
    assert [(rec.attempt, rec.by, bool(rec.body)) for rec in bench.sent(ROWS)] == [(1, b"c1", False), (2, b"c2", True)]


def test_a_page_that_cannot_be_read_is_told() -> None:
    bench = Bench()
    bench.receives(page(request=7), page("ann/d1", 8))
    bench.away("page")
    assert [(rec.attempt, rec.flags, rec.body) for rec in bench.sent(ROWS)] == [(7, FAILED, b""), (8, FAILED, b"")]


@pytest.mark.parametrize(("asked", "read"), [(0, 1), (5, 5), (500, 100)])
def test_a_page_has_at_least_one_row_and_at_most_so_many(asked: int, read: int) -> None:
    bench = Bench(max_page_rows=100)
    bench.receives(page(count=asked))
    assert bench.asked("page")[0][0].limit == read


def test_removals_of_one_turn_are_one_call_before_any_page() -> None:
    bench = Bench()
    bench.receives(
        page(),
        record(REMOVE, to=b"bob/b1", body=pack_keys([b"k1", b"k2"])),
        record(REMOVE, to=b"ann/d1", body=pack_keys([b"k3"])),
    )
    assert bench.asked("remove") == [[Removal("bob", "b1", (b"k1", b"k2")), Removal("ann", "d1", (b"k3",))]]
    bench.receives(page())
    assert len(bench.asked("remove")) == 1


def test_a_removal_that_cannot_be_read_is_passed_over() -> None:
    bench = Bench()
    bench.receives(record(REMOVE, to=b"bob/b1", body=b"\x05ab"))
    assert bench.core.records_unreadable == 1
    assert not bench.asked("remove")
