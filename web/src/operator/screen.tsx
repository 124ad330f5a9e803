/** The whole page: the login, or the views and the way between them. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { Accounts } from "./accounts.tsx";
import { logIn, logOut, session, wordsOf } from "./api.ts";
import { Groups } from "./groups.tsx";
import { Overview } from "./overview.tsx";
import { Wrong } from "./parts.tsx";
import { Reports } from "./reports.tsx";
import { view, VIEWS, type View } from "./route.ts";
import { Settings } from "./settings.tsx";
import { follow, silence, state } from "./state.ts";

const SHOWN: Readonly<Record<View, () => JSX.Element>> = {
  overview: Overview,
  accounts: Accounts,
  groups: Groups,
  reports: Reports,
  settings: Settings,
};
const CALLED: Readonly<Record<View, string>> = {
  overview: "Overview",
  accounts: "Accounts",
  groups: "Groups",
  reports: "Reports",
  settings: "Settings",
};

export function Screen(): JSX.Element {
  return session.value === "" ? <Login /> : <Views />;
}

function Login(): JSX.Element {
  const busy = useSignal(false);
  const wrong = useSignal("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  const enter = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = true;
    wrong.value = "";
    try {
      await logIn(field.current?.value.trim() ?? "");
    } catch (error) {
      wrong.value = wordsOf(error);
    }
    busy.value = false;
  };
  return (
    <main class="alone">
      <h1>Sparrow: operator</h1>
      <form onSubmit={(event) => void enter(event)}>
        <label>
          The administrator's token
          <input ref={field} type="password" required autocomplete="current-password" maxLength={1024} />
        </label>
        <p class="faint">
          It is in the file that <code>userapi.admin_token_file</code> names.
        </p>
        <Wrong text={wrong.value} />
        <button type="submit" class="first" disabled={busy.value}>
          Log in
        </button>
      </form>
    </main>
  );
}

function Views(): JSX.Element {
  useEffect(follow, []);
  const Shown = SHOWN[view.value];
  return (
    <>
      <header class="bar">
        <h1>Sparrow</h1>
        <nav aria-label="Views">
          {VIEWS.map((each) => (
            <a key={each} href={`#${each}`} aria-current={each === view.value ? "page" : undefined}>
              {CALLED[each]}
              {each === "overview" && <Count />}
            </a>
          ))}
        </nav>
        <button type="button" class="plain" onClick={() => void logOut().catch(() => undefined)}>
          Log out
        </button>
      </header>
      {silence.value !== "" && (
        <p class="silence" role="alert">
          Nothing new is known: {silence.value}
        </p>
      )}
      <main>
        <Shown />
      </main>
    </>
  );
}

/** How much is wrong, wherever one is. */
function Count(): JSX.Element | null {
  const found = state.value?.findings ?? [];
  const isCritical = found.some((each) => each.severity === "critical");
  return found.length === 0 ? null : (
    <span class={isCritical ? "count critical" : "count warning"} title={`${found.length} findings`}>
      {found.length}
    </span>
  );
}
