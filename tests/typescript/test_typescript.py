"""The TypeScript client (clients/typescript): its linter, its types, its generated code, its own tests, its build."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.typescript.conftest import CLIENT

Run = Callable[..., str]


def test_linter(run: Run) -> None:
    run("node_modules/.bin/eslint", "--max-warnings", "0", ".")
    run("node_modules/.bin/prettier", "--check", ".")


def test_types(run: Run) -> None:
    run("node_modules/.bin/tsc", "--noEmit")


def test_generated_code_is_fresh(run: Run) -> None:
    run("scripts/generate", "--check")


def test_own_tests(run: Run) -> None:
    said = run("node", "--test", "--test-reporter=tap", "--disable-warning=ExperimentalWarning", "test/*.test.ts")
    passed = re.search(r"^# pass (\d+)$", said, re.MULTILINE)
    assert passed
    assert int(passed[1]) > 250


def test_what_is_built_is_what_is_exported(run: Run) -> None:
    run("scripts/build")
    package = json.loads((CLIENT / "package.json").read_text())
    for path in package["exports"].values():
        assert (CLIENT / path).is_file()
        assert (CLIENT / path).with_suffix(".d.ts").is_file()


def test_the_lock_names_no_registry() -> None:
    packages = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
    assert all("integrity" in each for name, each in packages.items() if name)
    assert not any("resolved" in each for each in packages.values())
