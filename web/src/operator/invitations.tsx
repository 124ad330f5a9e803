/** Invitations to register. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { ask, part, wordsOf } from "./api.ts";
import { fieldOf } from "../views/form.ts";
import { Action, Dialog, More, Name, ShownCode, Table, usePages, Wrong } from "./parts.tsx";
import type { Code, Invitation } from "./told.ts";
import { when } from "./words.ts";

export function Invitations(): JSX.Element {
  const makes = useSignal(false);
  const made = useSignal<Code | undefined>(undefined);
  const failed = useSignal("");
  const { items, trouble, more, busy, again } = usePages<Invitation>("", async (cursor) => {
    const page = await ask<{ invitations: Invitation[]; next: string | null }>(
      "GET",
      `invitations?cursor=${part(cursor)}`,
    );
    return { items: page.invitations, next: page.next };
  });
  const withdraw = async (invitation: string): Promise<void> => {
    try {
      await ask("DELETE", `invitations/${part(invitation)}`);
      failed.value = "";
    } catch (error) {
      failed.value = wordsOf(error);
    }
    again();
  };
  return (
    <section aria-labelledby="invitations">
      <header>
        <h2 id="invitations">Invitations</h2>
        <button type="button" onClick={() => (makes.value = true)}>
          Invite
        </button>
      </header>
      <Wrong text={trouble || failed.value} />
      {items.length === 0 ? (
        <p class="faint">None is open.</p>
      ) : (
        <Table label="Invitations">
          <thead>
            <tr>
              <th scope="col">For</th>
              <th scope="col" class="number">
                Used
              </th>
              <th scope="col">Used by</th>
              <th scope="col">Ends</th>
              <th scope="col">
                <span class="unseen">What to do</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map((each) => (
              <tr key={each.invitation}>
                <th scope="row">
                  <Name text={each.note || each.invitation} />
                </th>
                <td class="number">
                  {each.used_by.length} of {each.uses}
                </td>
                <td>{each.used_by.join(", ") || "–"}</td>
                <td>{when(each.ends_ms)}</td>
                <td class="number">
                  <Action label="Withdraw" onDo={() => withdraw(each.invitation)} />
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <More busy={busy} onMore={more} />
      {makes.value && (
        <Invite
          onClose={() => (makes.value = false)}
          onMade={(code) => {
            makes.value = false;
            made.value = code;
            again();
          }}
        />
      )}
      {made.value !== undefined && (
        <ShownCode title="An invitation" code={made.value} onClose={() => (made.value = undefined)} />
      )}
    </section>
  );
}

function Invite({ onClose, onMade }: { onClose: () => void; onMade: (code: Code) => void }): JSX.Element {
  const trouble = useSignal("");
  const busy = useSignal(false);
  const invite = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const asked = {
      note: fieldOf(form, "note"),
      uses: Number(fieldOf(form, "uses")),
      hours: Number(fieldOf(form, "hours")),
    };
    busy.value = true;
    try {
      onMade(await ask<Code>("POST", "invitations", asked));
    } catch (error) {
      trouble.value = wordsOf(error);
    }
    busy.value = false;
  };
  return (
    <Dialog title="Invite" onClose={onClose}>
      <form onSubmit={(event) => void invite(event)}>
        <label>
          For whom, for you to remember
          <input name="note" maxLength={100} autocomplete="off" />
        </label>
        <label>
          So many may register with it
          <input name="uses" type="number" min={1} max={1000} defaultValue="1" required />
        </label>
        <label>
          It ends after so many hours
          <input name="hours" type="number" min={1} max={8760} defaultValue="168" required />
        </label>
        <Wrong text={trouble.value} />
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="first" disabled={busy.value}>
            Invite
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
