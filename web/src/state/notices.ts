/**
 * What is told outside the page: the number of unread messages in the title, and notifications.
 *
 * Owns both. A notification says who has written, and no word of what: it may be shown on a locked screen.
 */

import { effect, untracked } from "@preact/signals";

import type { Line } from "../model/line.ts";
import { emptyRow } from "../model/told.ts";
import type { App } from "./app.ts";
import { go } from "./route.ts";
import { isMuted } from "./rows.ts";

const TITLE = "Sparrow";
const WANTED = "sparrow:notifications";

/** Whether the person wants notifications, and the browser allows them. */
export function areNoticesOn(): boolean {
  return "Notification" in globalThis && Notification.permission === "granted" && localStorage.getItem(WANTED) === "on";
}

/** Ask for them, or have none any more. Returns whether they are on. */
export async function setNotices(isOn: boolean): Promise<boolean> {
  if (isOn && "Notification" in globalThis && (await Notification.requestPermission()) === "granted") {
    localStorage.setItem(WANTED, "on");
  } else {
    localStorage.removeItem(WANTED);
  }
  return areNoticesOn();
}

/** Tell, as long as the page is there. */
export function tellOf(app: App): void {
  effect(() => {
    const count = app.phase.value.at === "in" ? app.rows.unread.value : 0;
    document.title = count === 0 ? TITLE : `(${count > 99 ? "99+" : count}) ${TITLE}`;
  });
  effect(() => {
    const line = app.news.value;
    if (line !== undefined) {
      // Once for each message: a name that is learnt, or a look at something else, is no news.
      untracked(() => notify(app, line));
    }
  });
}

function notify(app: App, line: Line): void {
  // One tab is enough.
  if (app.tab?.isLeading !== true || !areNoticesOn()) {
    return;
  }
  if (app.isRead(line.peer) || isMuted(app.rows.all.value.get(line.peer) ?? emptyRow(line.peer))) {
    return;
  }
  const name = app.circle?.nameOf(line.author) ?? line.author;
  const where = line.peer === line.author ? "" : (app.circle?.nameOf(line.peer) ?? "");
  const notice = new Notification(name, {
    body: where === "" ? "has written to you" : `in ${where}`,
    tag: line.peer,
  });
  notice.onclick = () => {
    window.focus();
    go({ at: "chat", peer: line.peer });
    notice.close();
  };
}
