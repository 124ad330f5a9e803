/** A state file for which there is no more room. */

import { DatabaseSync } from "node:sqlite";
import type { TestContext } from "node:test";

import { FileBackend } from "../src/journal/file.ts";

/** A state file at `path`; and what makes its disk full. */
export function fillable(context: TestContext, path: string): [FileBackend, () => void] {
  const { mock } = context.mock.method(DatabaseSync.prototype, "exec");
  const backend = new FileBackend(path);
  const database = mock.calls[0]?.this as DatabaseSync;
  mock.restore();
  return [backend, () => database.exec("PRAGMA max_page_count = 8")];
}
