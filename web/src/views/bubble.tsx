/** One message, and what can be done with it. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { FILE, isGroupId, TEXT } from "sparrow-client";

import { type Line, lineMs, targetOf } from "../model/line.ts";
import { addressOf } from "../state/route.ts";
import { Attachment } from "./attachment.tsx";
import { useDevice } from "./context.ts";
import { Confirm, Dialog } from "./dialog.tsx";
import { type Choice, Menu } from "./menu.tsx";
import { Text } from "./text.tsx";
import { Tick } from "./tick.tsx";
import { clockTime, wholeTime } from "./time.ts";

/** The server gathers who has read for a second. */
const READ_BY_AGAIN_MS = 2_000;

interface BubbleProps {
  readonly line: Line;
  /** The same person has written just before. */
  readonly isFollowing: boolean;
  readonly onEdit: (line: Line) => void;
}

type Asking = "" | "erase" | "take down" | "report" | "read";

export function Bubble({ line, isFollowing, onEdit }: BubbleProps): JSX.Element {
  const { app, tab, circle } = useDevice();
  const asking = useSignal<Asking>("");
  const element = useRef<HTMLElement>(null);
  const isErased = line.erasedBy !== "";
  // What had the focus goes away with the text.
  const hadFocus = element.current?.contains(document.activeElement) === true;
  useLayoutEffect(() => {
    if (isErased && hadFocus) {
      element.current?.focus({ preventScroll: true });
    }
  }, [isErased]);
  const isMine = line.author === tab.user;
  const isOwner = circle.groups.value.get(line.peer)?.role === "owner";
  const ms = lineMs(line);
  const named = isGroupId(line.peer) && !isMine && !isFollowing;
  const close = (): void => {
    asking.value = "";
  };
  return (
    <article
      ref={element}
      tabIndex={-1}
      class={`line${isMine ? " is-mine" : ""}${isFollowing ? " is-following" : ""}`}
      dir="auto"
    >
      <div class="bubble">
        {!named && <span class="unseen">{isMine ? "You" : circle.nameOf(line.author)}: </span>}
        {named && (
          <a class="author" href={addressOf({ at: "about", peer: line.author })}>
            <bdi>{circle.nameOf(line.author)}</bdi>
          </a>
        )}
        <Body line={line} />
        <footer>
          {line.editedMs > 0 && !isErased && <span title={wholeTime(line.editedMs)}>edited</span>}
          {ms > 0 && (
            <time dateTime={new Date(ms).toISOString()} title={wholeTime(ms)}>
              {clockTime(ms)}
            </time>
          )}
          {isMine && !isErased && <Tick progress={line.progress} />}
        </footer>
        {line.note !== "" && !isErased && <p class="note">{line.note}</p>}
        {line.progress === "doubtful" && <Doubt line={line} />}
        {line.progress === "failed" && <Failed line={line} />}
      </div>
      {!isErased && (
        <Menu
          label="What to do with this message"
          choices={choicesOf(line, isMine, isOwner, onEdit, (what) => (asking.value = what))}
        />
      )}
      {asking.value === "erase" && (
        <Confirm
          title="Erase this message?"
          text="It is erased for everybody, on all devices and at the server."
          yes="Erase"
          onYes={() => void app.try((device) => device.chat.erase(line))}
          onClose={close}
        />
      )}
      {asking.value === "take down" && (
        <Confirm
          title="Erase this message of somebody else?"
          text="It is erased for everybody in the group, and they see that the group has done it."
          yes="Erase"
          onYes={() => void app.try((device) => device.conversations.takeDown(targetOf(line)))}
          onClose={close}
        />
      )}
      {asking.value === "report" && <Report line={line} onClose={close} />}
      {asking.value === "read" && <ReadBy line={line} onClose={close} />}
    </article>
  );
}

function choicesOf(
  line: Line,
  isMine: boolean,
  isOwner: boolean,
  onEdit: (line: Line) => void,
  ask: (what: Asking) => void,
): Choice[] {
  const isKept = line.stamp !== 0n;
  const choices: Choice[] = [];
  if (line.kind === TEXT) {
    choices.push({ text: "Copy", act: () => void navigator.clipboard.writeText(line.text) });
  }
  if (isMine && isKept && line.kind === TEXT) {
    choices.push({ text: "Edit", act: () => onEdit(line) });
  }
  if (isMine && isKept && isGroupId(line.peer)) {
    choices.push({ text: "Read by…", act: () => ask("read") });
  }
  if (isMine && isKept) {
    choices.push({ text: "Erase", act: () => ask("erase"), isDangerous: true });
  }
  if (isOwner && !isMine) {
    choices.push({ text: "Erase for all", act: () => ask("take down"), isDangerous: true });
  }
  if (!isMine) {
    choices.push({ text: "Report", act: () => ask("report"), isDangerous: true });
  }
  return choices;
}

function Body({ line }: { readonly line: Line }): JSX.Element {
  if (line.erasedBy !== "") {
    const by =
      line.erasedBy === line.author
        ? ""
        : line.erasedBy === "operator"
          ? " by those who run the service"
          : " by the group";
    return <p class="text is-erased">This message was erased{by}.</p>;
  }
  if (line.kind === FILE) {
    return line.file === undefined ? (
      <p class="text is-erased">A file that cannot be read.</p>
    ) : (
      <Attachment file={line.file} />
    );
  }
  if (line.kind !== TEXT) {
    return <p class="text is-erased">A message of a kind that this page does not know.</p>;
  }
  return (
    <p class="text" dir="auto">
      <Text text={line.text} />
    </p>
  );
}

/** A message that may have been sent already: only a person can say. */
function Doubt({ line }: { readonly line: Line }): JSX.Element {
  const { app } = useDevice();
  const decide = (isSentAgain: boolean): void => {
    void app.try((tab) => tab.chat.decide(line.draft, isSentAgain));
  };
  return (
    <p class="note">
      <button type="button" onClick={() => decide(true)}>
        Send it again
      </button>{" "}
      <button type="button" onClick={() => decide(false)}>
        Forget it
      </button>
    </p>
  );
}

/** A message that was not sent, and will not be by itself. */
function Failed({ line }: { readonly line: Line }): JSX.Element {
  const { app } = useDevice();
  const forget = (): void => {
    app.timeline(line.peer).forget(line);
    void app.refreshRows();
  };
  const again = async (): Promise<void> => {
    if (await app.send(line.peer, line.text)) {
      forget();
    }
  };
  return (
    <p class="note">
      {line.kind === TEXT && (
        <button type="button" onClick={() => void again()}>
          Send it again
        </button>
      )}{" "}
      <button type="button" onClick={forget}>
        Forget it
      </button>
    </p>
  );
}

function Report({ line, onClose }: { readonly line: Line; readonly onClose: () => void }): JSX.Element {
  const { app } = useDevice();
  const why = useSignal("");
  const report = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (await app.try((tab) => tab.conversations.report(targetOf(line), why.value))) {
      app.say("Reported. Those who run the service see this message and what you wrote.");
      onClose();
    }
  };
  return (
    <Dialog title="Report this message" onClose={onClose}>
      <form onSubmit={(event) => void report(event)}>
        <p>Those who run the service are shown this message, also if it is erased later.</p>
        <label>
          What is wrong with it?
          <textarea autofocus rows={3} maxLength={1000} onInput={(event) => (why.value = event.currentTarget.value)} />
        </label>
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="danger">
            Report
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

function ReadBy({ line, onClose }: { readonly line: Line; readonly onClose: () => void }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const found = useSignal<{ readonly read_by: readonly string[]; readonly of: number } | undefined>(undefined);
  const ask = async (): Promise<void> => {
    await app.try(async () => {
      found.value = await tab.groups.readBy(line.peer, line.device, line.stream, line.id);
      circle.learn(found.value.read_by);
    });
  };
  useEffect(() => {
    void ask();
    const timer = setInterval(() => void ask(), READ_BY_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <Dialog title="Read by" onClose={onClose}>
      {found.value === undefined ? (
        <p>Asking…</p>
      ) : (
        <>
          <p>
            {found.value.read_by.length} of {found.value.of}, as far as they show it.
          </p>
          <ul>
            {found.value.read_by.map((user) => (
              <li key={user}>
                <bdi>{circle.nameOf(user)}</bdi>
              </li>
            ))}
          </ul>
        </>
      )}
    </Dialog>
  );
}
