/** Groups: who is in, and closing one. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { ask, part, wordsOf } from "./api.ts";
import { Dialog, More, Name, Sure, Table, usePages, Wrong } from "./parts.tsx";
import type { Group, ListedGroup } from "./told.ts";
import { amount, when } from "./words.ts";

export function Groups(): JSX.Element {
  const open = useSignal("");
  const { items, trouble, more, busy, again } = usePages<ListedGroup>("", async (cursor) => {
    const page = await ask<{ groups: ListedGroup[]; next: string | null }>("GET", `groups?cursor=${part(cursor)}`);
    return { items: page.groups, next: page.next };
  });
  return (
    <section aria-labelledby="groups">
      <h2 id="groups">Groups</h2>
      <p class="faint">Looking who is in a group is in the audit log.</p>
      <Wrong text={trouble} />
      {items.length === 0 && trouble === "" ? (
        <p class="faint">{busy ? "One moment…" : "There is none."}</p>
      ) : (
        <Table label="Groups">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col" class="number">
                Members
              </th>
              <th scope="col">State</th>
              <th scope="col">Made</th>
              <th scope="col">Id</th>
            </tr>
          </thead>
          <tbody>
            {items.map((each) => (
              <tr key={each.group}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => (open.value = each.group)}>
                    <Name text={each.name || "(no name)"} />
                  </button>
                </th>
                <td class="number">{amount(each.members)}</td>
                <td>{each.closed ? "closed" : "open"}</td>
                <td>{when(each.created_ms)}</td>
                <td>
                  <code>{each.group}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <More busy={busy} onMore={more} />
      {open.value !== "" && (
        <GroupDialog key={open.value} group={open.value} onChange={again} onClose={() => (open.value = "")} />
      )}
    </section>
  );
}

interface GroupProps {
  readonly group: string;
  readonly onChange: () => void;
  readonly onClose: () => void;
}

function GroupDialog({ group, onChange, onClose }: GroupProps): JSX.Element {
  const known = useSignal<Group | undefined>(undefined);
  const trouble = useSignal("");
  const closes = useSignal(false);
  useEffect(() => {
    ask<Group>("GET", `groups/${part(group)}`).then(
      (found) => (known.value = found),
      (error: unknown) => (trouble.value = wordsOf(error)),
    );
  }, []);
  if (closes.value) {
    return (
      <Sure
        title="Close the group"
        text="It ends for all of its members, and for good. What was written stays for as long as it is kept."
        word="close"
        yes="Close"
        onYes={async () => {
          await ask("DELETE", `groups/${part(group)}`);
          onChange();
          onClose();
        }}
        onClose={() => (closes.value = false)}
      />
    );
  }
  const found = known.value;
  return (
    <Dialog title="Group" onClose={onClose}>
      <Wrong text={trouble.value} />
      {found !== undefined && (
        <div class="facts">
          <p>
            <strong>
              <Name text={found.name || "(no name)"} />
            </strong>
          </p>
          <p class="faint">
            {found.members.length} members, made {when(found.created_ms)}
          </p>
          <ul class="devices">
            {found.members.map((each) => (
              <li key={each.user}>
                {each.user} <span class="faint">{each.role}</span>
              </li>
            ))}
          </ul>
        </div>
      )}
      <footer>
        <button type="button" onClick={onClose}>
          Done
        </button>
        {found?.closed === false && (
          <button type="button" class="danger" onClick={() => (closes.value = true)}>
            Close the group…
          </button>
        )}
      </footer>
    </Dialog>
  );
}
