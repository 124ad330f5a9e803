/** Finding people, beginning a group, and what waits for a yes. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Profile } from "sparrow-client";

import { addressOf, go } from "../state/route.ts";
import { useDevice } from "./context.ts";
import { fieldOf } from "./form.ts";
import { Face, Presence } from "./face.tsx";
import { Sheet } from "./sheet.tsx";

/** The server searches for no less. */
const LEAST = 2;
const WAIT_MS = 250;
const MOST_FOUND = 20;

export function People(): JSX.Element {
  const { app, circle } = useDevice();
  useEffect(() => {
    void app.try(() => circle.refresh());
  }, []);
  return (
    <Sheet title="People and groups">
      <Asking />
      <Finding />
      <NewGroup />
      <ByLink />
      <Groups />
      <Friends />
    </Sheet>
  );
}

/** Who wants to be a friend, and which groups one is asked into. */
function Asking(): JSX.Element | null {
  const { app, tab, circle } = useDevice();
  const asking = circle.requests.value.filter(({ asks }) => asks);
  const invitations = circle.invitations.value;
  if (asking.length + invitations.length === 0) {
    return null;
  }
  circle.learn([...asking.map(({ user }) => user), ...invitations.map(({ by }) => by)]);
  const people = (work: () => Promise<unknown>): void => {
    void app.try(async () => {
      await work();
      await circle.refreshPeople();
    });
  };
  const join = (group: string): void => {
    void app.try(async () => {
      await tab.groups.accept(group);
      await circle.refreshGroups();
      go({ at: "chat", peer: group });
    });
  };
  const decline = (group: string): void => {
    void app.try(async () => {
      await tab.groups.decline(group);
      await circle.refreshGroups();
    });
  };
  return (
    <section aria-labelledby="asking">
      <h2 id="asking">Waiting for your answer</h2>
      <ul>
        {asking.map(({ user }) => (
          <li key={user}>
            <Who user={user} /> wants to be your friend
            <button type="button" class="first" onClick={() => people(() => tab.people.accept(user))}>
              Accept
            </button>
            <button type="button" onClick={() => people(() => tab.people.decline(user))}>
              Decline
            </button>
            <button type="button" class="danger" onClick={() => people(() => tab.people.block(user))}>
              Block
            </button>
          </li>
        ))}
        {invitations.map(({ group, name, by, members }) => (
          <li key={group}>
            <span>
              <bdi>{circle.nameOf(by)}</bdi> asks you into <bdi>{name}</bdi> ({membersText(members)})
            </span>
            <button type="button" class="first" onClick={() => join(group)}>
              Join
            </button>
            <button type="button" onClick={() => decline(group)}>
              Decline
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Finding(): JSX.Element {
  const { app, tab, circle } = useDevice();
  const wanted = useSignal("");
  const found = useSignal<readonly Profile[] | undefined>(undefined);
  useEffect(() => {
    const prefix = wanted.value.trim().toLowerCase();
    if (prefix.length < LEAST) {
      found.value = undefined;
      return undefined;
    }
    const timer = setTimeout(() => {
      void app.try(async () => {
        const profiles = await tab.people.search(prefix, MOST_FOUND);
        profiles.forEach(({ user, display_name: name }) => circle.heard(user, name));
        found.value = profiles;
      });
    }, WAIT_MS);
    return () => clearTimeout(timer);
  }, [wanted.value]);
  return (
    <section aria-labelledby="finding">
      <h2 id="finding">Find somebody</h2>
      <input
        type="search"
        aria-label="The beginning of a name"
        placeholder="The beginning of a name"
        autocapitalize="none"
        spellcheck={false}
        maxLength={64}
        value={wanted.value}
        onInput={(event) => (wanted.value = event.currentTarget.value)}
      />
      {found.value !== undefined && (
        <ul aria-label="Found">
          {found.value.map(({ user }) => (
            <li key={user}>
              <Who user={user} />
              <button type="button" class="first" onClick={() => go({ at: "chat", peer: user })}>
                Write
              </button>
            </li>
          ))}
          {found.value.length === 0 && <li>Nobody's name begins so.</li>}
        </ul>
      )}
    </section>
  );
}

function NewGroup(): JSX.Element {
  const { app, tab, circle } = useDevice();
  const busy = useSignal(false);
  const make = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const name = fieldOf(form, "name").trim();
    busy.value = true;
    await app.try(async () => {
      const { group } = await tab.groups.make(name);
      await circle.refreshGroups();
      go({ at: "about", peer: group });
    });
    busy.value = false;
  };
  return (
    <section aria-labelledby="new-group">
      <h2 id="new-group">Begin a group</h2>
      <form class="in-line" onSubmit={(event) => void make(event)}>
        <input name="name" required maxLength={100} aria-label="The group's name" placeholder="The group's name" />
        <button type="submit" disabled={busy.value}>
          Begin
        </button>
      </form>
    </section>
  );
}

/** Joining by what somebody has sent: name and number first, then a click. */
function ByLink(): JSX.Element {
  const { app, tab, circle } = useDevice();
  const secret = useSignal("");
  const looked = useSignal<{ readonly name: string; readonly members: number } | undefined>(undefined);
  const look = async (event: Event): Promise<void> => {
    event.preventDefault();
    await app.try(async () => {
      looked.value = await tab.groups.look(secret.value.trim());
    });
  };
  const join = async (): Promise<void> => {
    await app.try(async () => {
      const { group } = await tab.groups.join(secret.value.trim());
      await circle.refreshGroups();
      go({ at: "chat", peer: group });
    });
  };
  return (
    <section aria-labelledby="by-link">
      <h2 id="by-link">Join a group by its link</h2>
      <form class="in-line" onSubmit={(event) => void look(event)}>
        <input
          required
          aria-label="The link's secret"
          placeholder="The link's secret"
          autocomplete="off"
          value={secret.value}
          onInput={(event) => {
            secret.value = event.currentTarget.value;
            looked.value = undefined;
          }}
        />
        <button type="submit">Look</button>
      </form>
      {looked.value !== undefined && (
        <p>
          <bdi>{looked.value.name}</bdi>, {membersText(looked.value.members)}{" "}
          <button type="button" class="first" onClick={() => void join()}>
            Join
          </button>
        </p>
      )}
    </section>
  );
}

function Groups(): JSX.Element | null {
  const { circle } = useDevice();
  const groups = [...circle.groups.value.values()].filter(({ left_ms: left }) => left === null);
  if (groups.length === 0) {
    return null;
  }
  return (
    <section aria-labelledby="groups">
      <h2 id="groups">Groups</h2>
      <ul>
        {groups.map(({ group, name }) => (
          <li key={group}>
            <a class="me" href={addressOf({ at: "chat", peer: group })}>
              <Face name={name} id={group} />
              <bdi>{name}</bdi>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Friends(): JSX.Element {
  const { circle } = useDevice();
  const friends = circle.friends.value;
  const asked = circle.requests.value.filter((each) => each.asked);
  circle.learn([...friends, ...asked].map(({ user }) => user));
  return (
    <section aria-labelledby="friends">
      <h2 id="friends">Friends</h2>
      <ul>
        {friends.map(({ user }) => (
          <li key={user}>
            <Who user={user} />
            <button type="button" onClick={() => go({ at: "chat", peer: user })}>
              Write
            </button>
          </li>
        ))}
        {asked.map(({ user }) => (
          <li key={user}>
            <Who user={user} /> <small>asked</small>
          </li>
        ))}
      </ul>
      {friends.length + asked.length === 0 && <p class="faint">Nobody yet.</p>}
    </section>
  );
}

function membersText(members: number): string {
  return members === 1 ? "1 member" : `${members} members`;
}

/** Somebody, as a link to what is known of them. */
export function Who({ user }: { readonly user: string }): JSX.Element {
  const { circle } = useDevice();
  const name = circle.nameOf(user);
  return (
    <a class="me" href={addressOf({ at: "about", peer: user })}>
      <span class="with-presence">
        <Face name={name} id={user} />
        <Presence user={user} />
      </span>
      <span class="names">
        <bdi>{name}</bdi>
        {name !== user && <small>{user}</small>}
      </span>
    </a>
  );
}
