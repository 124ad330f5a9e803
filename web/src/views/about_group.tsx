/** One group: its members and their roles, what it is called, links into it, and its end. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Group, Link, Member, Role } from "sparrow-client";

import type { Tab } from "../model/tab.ts";
import { go } from "../state/route.ts";
import { useDevice } from "./context.ts";
import { fieldOf } from "./form.ts";
import { Confirm } from "./dialog.tsx";
import { Who } from "./people.tsx";
import { Sheet } from "./sheet.tsx";
import { isolated } from "./text.tsx";
import { wholeTime } from "./time.ts";

type Change = (work: (tab: Tab) => Promise<unknown>) => void;

interface PartProps {
  readonly group: Group;
  readonly change: Change;
}

export function AboutGroup({ group: id }: { readonly group: string }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const found = useSignal<Group | undefined>(undefined);
  const version = circle.groups.value.get(id)?.version;
  const look = async (): Promise<void> => {
    await app.try(async () => {
      found.value = await tab.groups.one(id);
      circle.learn(found.value.members.map(({ user }) => user));
    });
  };
  useEffect(() => void look(), [id, version]);
  const change: Change = (work) => {
    void app.try(work).then(async (isDone) => {
      if (isDone) {
        await look();
        await app.try(() => circle.refreshGroups());
      }
    });
  };
  const group = found.value;
  return (
    <Sheet title={circle.nameOf(id)} back={{ at: "chat", peer: id }}>
      {group !== undefined && (
        <>
          <Members group={group} change={change} />
          {group.role !== "member" && <Name group={group} change={change} />}
          {group.role !== "member" && <Links group={group} />}
          <End group={group} />
        </>
      )}
    </Sheet>
  );
}

function Members({ group, change }: PartProps): JSX.Element {
  const { tab } = useDevice();
  const id = group.group;
  const mayAdd = group.role !== "member" || group.who_may_add === "all";
  return (
    <section aria-labelledby="members">
      <h2 id="members">Members ({group.members.length})</h2>
      {mayAdd && (
        <form
          class="in-line"
          onSubmit={(event) => {
            event.preventDefault();
            const form = event.currentTarget;
            const user = fieldOf(form, "user").trim().toLowerCase();
            change((device) => device.groups.add(id, user).then(() => form.reset()));
          }}
        >
          <input
            name="user"
            required
            maxLength={64}
            autocapitalize="none"
            spellcheck={false}
            aria-label="Whom to ask into the group"
            placeholder="Whom to ask into the group"
          />
          <button type="submit">Ask</button>
        </form>
      )}
      <ul>
        {group.members.map((member) => (
          <li key={member.user}>
            <Who user={member.user} />
            <RoleOf group={group} member={member} change={change} />
            {member.user !== tab.user && mayRemove(group, member) && (
              <button
                type="button"
                class="danger"
                onClick={() => change((device) => device.groups.remove(id, member.user))}
              >
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

function mayRemove({ role }: Group, member: Member): boolean {
  return role === "owner" || (role === "admin" && member.role === "member");
}

function RoleOf({ group, member, change }: PartProps & { readonly member: Member }): JSX.Element {
  if (group.role !== "owner") {
    return <small>{member.role}</small>;
  }
  return (
    <select
      class="role"
      aria-label={`Role of ${member.user}`}
      value={member.role}
      onChange={(event) => {
        const role = event.currentTarget.value as Role;
        change((device) => device.groups.setRole(group.group, member.user, role));
      }}
    >
      <option value="member">member</option>
      <option value="admin">admin</option>
      <option value="owner">owner</option>
    </select>
  );
}

function Name({ group, change }: PartProps): JSX.Element {
  const id = group.group;
  return (
    <section aria-labelledby="group-settings">
      <h2 id="group-settings">The group</h2>
      <form
        class="in-line"
        onSubmit={(event) => {
          event.preventDefault();
          const name = fieldOf(event.currentTarget, "name").trim();
          change((device) => device.groups.change(id, { name }));
        }}
      >
        <label>
          Name
          <input key={group.name} name="name" required maxLength={100} defaultValue={group.name} />
        </label>
        <button type="submit">Save</button>
      </form>
      <label>
        Who may write
        <select
          value={group.who_may_write}
          onChange={(event) => {
            const { value } = event.currentTarget;
            change((device) => device.groups.change(id, { who_may_write: value }));
          }}
        >
          <option value="all">all members</option>
          <option value="admins">admins and owners</option>
        </select>
      </label>
      <label>
        Who may add others
        <select
          value={group.who_may_add}
          onChange={(event) => {
            const { value } = event.currentTarget;
            change((device) => device.groups.change(id, { who_may_add: value }));
          }}
        >
          <option value="all">all members</option>
          <option value="admins">admins and owners</option>
        </select>
      </label>
      <label>
        Newcomers see
        <select
          value={group.newcomers_see}
          onChange={(event) => {
            const { value } = event.currentTarget;
            change((device) => device.groups.change(id, { newcomers_see: value }));
          }}
        >
          <option value="history">all that was written</option>
          <option value="nothing">what is written from then on</option>
        </select>
      </label>
    </section>
  );
}

function Links({ group }: { readonly group: Group }): JSX.Element {
  const { app, tab } = useDevice();
  const links = useSignal<readonly Link[]>([]);
  const fresh = useSignal("");
  const refresh = async (): Promise<void> => {
    await app.try(async () => {
      links.value = await tab.groups.links(group.group);
    });
  };
  useEffect(() => void refresh(), [group.group]);
  const make = async (): Promise<void> => {
    await app.try(async () => {
      fresh.value = (await tab.groups.addLink(group.group, 24, 10)).secret;
    });
    await refresh();
  };
  return (
    <section aria-labelledby="links">
      <h2 id="links">Links into the group</h2>
      <div>
        <button type="button" onClick={() => void make()}>
          Make a link for a day and ten people
        </button>
      </div>
      {fresh.value !== "" && (
        <p>
          Its secret, which is told only now: <code class="secret">{fresh.value}</code>{" "}
          <button type="button" onClick={() => void navigator.clipboard.writeText(fresh.value)}>
            Copy
          </button>
        </p>
      )}
      <ul>
        {links.value.map(({ link, ends_ms: ends, uses_left: uses }) => (
          <li key={link}>
            <span class="names">
              <span>for {uses} more</span>
              <small>until {wholeTime(ends)}</small>
            </span>
            <button
              type="button"
              onClick={() => void app.try((device) => device.groups.dropLink(group.group, link)).then(refresh)}
            >
              End it
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function End({ group }: { readonly group: Group }): JSX.Element {
  const { app, tab, circle } = useDevice();
  const asking = useSignal<"" | "leave" | "close">("");
  const end = async (work: () => Promise<unknown>): Promise<void> => {
    if (await app.try(work)) {
      await app.try(() => circle.refreshGroups());
      await app.refreshRows();
      go({ at: "list" });
    }
  };
  return (
    <section aria-labelledby="end">
      <h2 id="end">Leaving</h2>
      <div class="entry">
        <button type="button" class="danger" onClick={() => (asking.value = "leave")}>
          Leave the group
        </button>
        {group.role === "owner" && (
          <button type="button" class="danger" onClick={() => (asking.value = "close")}>
            End it for all
          </button>
        )}
      </div>
      {asking.value === "leave" && (
        <Confirm
          title={`Leave ${isolated(group.name)}?`}
          text="You come back only if somebody asks you in."
          yes="Leave"
          onYes={() => void end(() => tab.groups.remove(group.group, tab.user))}
          onClose={() => (asking.value = "")}
        />
      )}
      {asking.value === "close" && (
        <Confirm
          title={`End ${isolated(group.name)}?`}
          text="Nobody can write in it any more."
          yes="End it"
          onYes={() => void end(() => tab.groups.close(group.group))}
          onClose={() => (asking.value = "")}
        />
      )}
    </section>
  );
}
