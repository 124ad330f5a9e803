/** Accounts, and invitations to make some. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { AccountDialog } from "./account.tsx";
import { ask, part, wordsOf } from "./api.ts";
import { Invitations } from "./invitations.tsx";
import { Dialog, More, Name, ShownCode, Table, usePages, Wrong } from "./parts.tsx";
import type { Code, ListedAccount } from "./told.ts";
import { when } from "./words.ts";

export function Accounts(): JSX.Element {
  const prefix = useSignal("");
  const open = useSignal("");
  const adds = useSignal(false);
  const made = useSignal<Code | undefined>(undefined);
  const sought = prefix.value.length >= 2 ? prefix.value : "";
  const { items, trouble, more, busy, again } = usePages<ListedAccount>(sought, async (cursor) => {
    const page = await ask<{ accounts: ListedAccount[]; next: string | null }>(
      "GET",
      `accounts?prefix=${part(sought)}&cursor=${part(cursor)}`,
    );
    return { items: page.accounts, next: page.next };
  });
  return (
    <>
      <section aria-labelledby="accounts">
        <header>
          <h2 id="accounts">Accounts</h2>
          <input
            type="search"
            placeholder="Begins with…"
            aria-label="Only ids that begin so; two characters or more"
            autocapitalize="none"
            spellcheck={false}
            value={prefix.value}
            onInput={(event) => (prefix.value = event.currentTarget.value.trim().toLowerCase())}
          />
          <button type="button" class="first" onClick={() => (adds.value = true)}>
            Add
          </button>
        </header>
        <Wrong text={trouble} />
        {items.length === 0 && trouble === "" ? (
          <p class="faint">{busy ? "One moment…" : "There is none."}</p>
        ) : (
          <Table label="Accounts">
            <thead>
              <tr>
                <th scope="col">User</th>
                <th scope="col">Name</th>
                <th scope="col">State</th>
                <th scope="col" class="number">
                  Logged in
                </th>
                <th scope="col">Last seen</th>
                <th scope="col">Made</th>
              </tr>
            </thead>
            <tbody>
              {items.map((each) => (
                <tr key={each.user}>
                  <th scope="row">
                    <button type="button" class="link" onClick={() => (open.value = each.user)}>
                      {each.user}
                    </button>
                  </th>
                  <td>{each.display_name === "" ? <span class="faint">–</span> : <Name text={each.display_name} />}</td>
                  <td class={each.disabled ? "bad" : undefined}>{each.disabled ? "disabled" : "enabled"}</td>
                  <td class="number">
                    {each.logged_in} of {each.devices}
                  </td>
                  <td>{when(each.last_seen_ms)}</td>
                  <td>{when(each.created_ms)}</td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
        <More busy={busy} onMore={more} />
      </section>
      <Invitations />
      {open.value !== "" && (
        <AccountDialog
          key={open.value}
          user={open.value}
          onChange={again}
          onClose={() => (open.value = "")}
          onCode={(code) => (made.value = code)}
        />
      )}
      {adds.value && (
        <Add
          onClose={() => (adds.value = false)}
          onMade={(code) => {
            adds.value = false;
            made.value = code;
            again();
          }}
        />
      )}
      {made.value !== undefined && (
        <ShownCode title="A code to set the password" code={made.value} onClose={() => (made.value = undefined)} />
      )}
    </>
  );
}

function Add({ onClose, onMade }: { onClose: () => void; onMade: (code: Code) => void }): JSX.Element {
  const user = useSignal("");
  const trouble = useSignal("");
  const busy = useSignal(false);
  const add = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = true;
    try {
      onMade(await ask<Code>("POST", "accounts", { user: user.value }));
    } catch (error) {
      trouble.value = wordsOf(error);
    }
    busy.value = false;
  };
  return (
    <Dialog title="Add an account" onClose={onClose}>
      <form onSubmit={(event) => void add(event)}>
        <label>
          User id
          <input
            required
            maxLength={64}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            value={user.value}
            onInput={(event) => (user.value = event.currentTarget.value)}
          />
        </label>
        <p class="faint">You get a code by which its user sets the password.</p>
        <Wrong text={trouble.value} />
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="first" disabled={busy.value}>
            Add
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
