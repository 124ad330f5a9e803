/** Settings in force, as the operator's process has read them. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { ask } from "./api.ts";
import { Table, usePages, Wrong } from "./parts.tsx";
import type { Setting } from "./told.ts";

export function Settings(): JSX.Element {
  const all = useSignal(false);
  const sought = useSignal("");
  const { items, trouble } = usePages<Setting>("", async () => {
    const { settings } = await ask<{ settings: Setting[] }>("GET", "settings");
    return { items: settings, next: null };
  });
  const shown = items.filter((each) => (all.value || each.written) && each.name.includes(sought.value));
  return (
    <section aria-labelledby="settings">
      <header>
        <h2 id="settings">Settings</h2>
        <input
          type="search"
          placeholder="Name…"
          aria-label="Only names that hold this"
          spellcheck={false}
          autocapitalize="none"
          value={sought.value}
          onInput={(event) => (sought.value = event.currentTarget.value.trim())}
        />
        <label class="check">
          <input type="checkbox" checked={all.value} onChange={(event) => (all.value = event.currentTarget.checked)} />
          Defaults, too
        </label>
      </header>
      <p class="faint">
        As this machine's files and the environment of <code>sparrow operator</code> have them. Secrets are in files of
        their own, and credentials in URLs are left out.
      </p>
      <Wrong text={trouble} />
      <Table label="Settings">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            <th scope="col">Value</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((each) => (
            <tr key={each.name}>
              <th scope="row">
                <code class={each.written ? undefined : "faint"}>{each.name}</code>
              </th>
              <td class="value">
                <code>{each.value}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </Table>
    </section>
  );
}
