/** One person: friend, blocked, or neither. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { go } from "../state/route.ts";
import { useDevice } from "./context.ts";
import { Confirm } from "./dialog.tsx";
import { Face } from "./face.tsx";
import { Sheet } from "./sheet.tsx";
import { isolated } from "./text.tsx";
import { wholeTime } from "./time.ts";

export function AboutPerson({ user }: { readonly user: string }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const asking = useSignal<"" | "block" | "unfriend">("");
  useEffect(() => {
    circle.learn([user]);
    void app.try(() => circle.refreshPeople());
  }, [user]);
  const change = (work: () => Promise<unknown>): void => {
    void app.try(async () => {
      await work();
      await circle.refreshPeople();
    });
  };
  const name = circle.nameOf(user);
  const friend = circle.friend(user);
  const request = circle.requests.value.find((each) => each.user === user);
  const isBlocked = circle.isBlocked(user);
  return (
    <Sheet title={name} back={{ at: "chat", peer: user }}>
      <section class="entry">
        <Face name={name} id={user} />
        <span class="names">
          <bdi>{name}</bdi>
          {name !== user && <small>{user}</small>}
        </span>
      </section>
      <section>
        <p>{standing(friend, request, isBlocked)}</p>
        {typeof friend?.last_seen_ms === "number" && friend.online !== true && (
          <p class="faint">Last seen {wholeTime(friend.last_seen_ms)}</p>
        )}
        <div class="entry">
          <button type="button" class="first" onClick={() => go({ at: "chat", peer: user })}>
            Write
          </button>
          {request?.asks === true && (
            <button type="button" onClick={() => change(() => tab.people.accept(user))}>
              Accept
            </button>
          )}
          {request !== undefined && (
            <button type="button" onClick={() => change(() => tab.people.decline(user))}>
              {request.asks ? "Decline" : "Take the request back"}
            </button>
          )}
          {friend === undefined && request === undefined && !isBlocked && user !== tab.user && (
            <button type="button" onClick={() => change(() => tab.people.ask(user))}>
              Ask to be friends
            </button>
          )}
          {friend !== undefined && (
            <button type="button" onClick={() => (asking.value = "unfriend")}>
              End the friendship
            </button>
          )}
          {user !== tab.user && (
            <button
              type="button"
              class="danger"
              onClick={() => (isBlocked ? change(() => tab.people.unblock(user)) : (asking.value = "block"))}
            >
              {isBlocked ? "Unblock" : "Block"}
            </button>
          )}
        </div>
      </section>
      {asking.value === "block" && (
        <Confirm
          title={`Block ${isolated(name)}?`}
          text="No message goes either way, and a friendship ends. They are not told."
          yes="Block"
          onYes={() => change(() => tab.people.block(user))}
          onClose={() => (asking.value = "")}
        />
      )}
      {asking.value === "unfriend" && (
        <Confirm
          title={`End the friendship with ${isolated(name)}?`}
          text="You see no more whether the other is online. Messages stay."
          yes="End it"
          onYes={() => change(() => tab.people.unfriend(user))}
          onClose={() => (asking.value = "")}
        />
      )}
    </Sheet>
  );
}

function standing(friend: unknown, request: { readonly asks: boolean } | undefined, isBlocked: boolean): string {
  if (isBlocked) {
    return "You have blocked them.";
  }
  if (friend !== undefined) {
    return "You are friends.";
  }
  return request === undefined
    ? "You are not friends."
    : request.asks
      ? "They want to be your friend."
      : "You have asked to be friends.";
}
