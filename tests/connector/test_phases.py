"""A session's phases, who writes what of it, and that a wrong count is found (docs/design/session.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from connector.core.phases import ALLOWED, ENDED, GREETING, LIVE, PHASES, SETTLING, TRANSITIONS
from connector.core.state import WRITERS
from tests.connector.bench import Bench, copy

ROOT = Path(__file__).parent.parent.parent
CORE = sorted((ROOT / "connector" / "core").glob("*.py"))
PAGE = (ROOT / "docs" / "design" / "session.md").read_text()
CHANGES = {"append", "popleft", "clear", "add", "extend", "update", "difference_update", "pop", "remove", "discard"}


def drawing() -> str:
    """The table as Mermaid draws it."""
    lines = ["stateDiagram-v2", "    [*] --> GREETING"]
    lines += [f"    {PHASES[one.before][0]} --> {PHASES[one.after][0]}: {one.when}" for one in TRANSITIONS]
    return "\n".join([*lines, "    ENDED --> [*]"])


def test_the_drawing_is_that_of_the_table() -> None:
    assert f"```mermaid\n{drawing()}\n```" in PAGE, "put this there:\n" + drawing()
    for name, meaning in PHASES.values():
        assert f"| {name} | {meaning} |" in PAGE


def test_every_phase_comes_to_an_end_and_none_begins_again() -> None:
    assert {before for before, _ in ALLOWED} == set(PHASES) - {ENDED}
    assert {after for _, after in ALLOWED} == set(PHASES) - {GREETING}
    assert {(phase, ENDED) for phase in PHASES if phase != ENDED} <= ALLOWED


def test_a_phase_that_may_not_follow_is_refused() -> None:
    session = Bench().connect().session
    with pytest.raises(AssertionError, match="LIVE may not follow GREETING"):
        session.to(LIVE)
    for phase in (SETTLING, LIVE, ENDED):
        session.to(phase)
    for phase in PHASES:
        with pytest.raises(AssertionError, match="may not follow ENDED"):
            session.to(phase)


def written(tree: ast.AST) -> set[str]:
    """Parts of a `session` that a module writes."""
    found = set()
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            targets = [node.func.value]
        for target in targets:
            part = target.value if isinstance(target, ast.Subscript) else target
            if isinstance(part, ast.Attribute) and ast.unparse(part.value) in ("session", "attempt[0]"):
                found.add(part.attr)
    return found


def test_nobody_writes_what_another_owns() -> None:
    for path in CORE:
        for part in written(ast.parse(path.read_text())):
            assert path.stem in WRITERS[part], f"{path.name} writes session.{part}"


def test_a_scan_is_written_by_its_owner_alone() -> None:
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if "scan." in ast.unparse(target):
                    assert path.stem == "catchup", f"{path.name}: {ast.unparse(target)}"


def test_a_wrong_count_is_found() -> None:
    bench = Bench()
    bob = bench.live()
    bench.receives(copy(bob, 1))
    for part in ("unacked_bytes", "attempts"):
        setattr(bob.session, part, getattr(bob.session, part) + 1)
        with pytest.raises(AssertionError, match="are counted"):
            bench.core.check()
        setattr(bob.session, part, getattr(bob.session, part) - 1)
        bench.core.check()
    bench.core.delivery.buffered_bytes -= 1
    with pytest.raises(AssertionError, match="buffered bytes are counted"):
        bench.core.check()


def test_what_a_live_session_may_not_be_is_found() -> None:
    bench = Bench()
    bob = bench.live()
    bob.session.scan.predecessor_until = 1.0
    with pytest.raises(AssertionError, match="live, and"):
        bench.core.check()
