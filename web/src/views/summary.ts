/** One line of text for a message. */

import { FILE, TEXT } from "sparrow-client";

import type { Line } from "../model/line.ts";

const MOST = 160;

export function summaryOf({ erasedBy, kind, text, file }: Line): string {
  if (erasedBy !== "") {
    return "erased";
  }
  if (kind === FILE) {
    return file === undefined ? "a file" : `📎 ${file.name}`;
  }
  return kind === TEXT ? text.slice(0, MOST).replace(/\s+/g, " ") : "a message of another kind";
}
