/** The last step of logging in with an OpenID provider: with the name that the person has, or chooses. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { OidcTicket } from "sparrow-client";

import type { Problem } from "../model/told.ts";
import { forgetAnswer } from "../state/provider.ts";
import { browserName } from "./browser_name.ts";
import { useApp } from "./context.ts";
import { fieldOf } from "./form.ts";

export function Vouched({ ticket }: { readonly ticket: OidcTicket }): JSX.Element {
  const app = useApp();
  const busy = useSignal(ticket.user !== "");
  const problem = useSignal<Problem | undefined>(undefined);
  const first = useRef<HTMLInputElement>(null);
  const enter = async (user: string, replaces: boolean): Promise<void> => {
    busy.value = true;
    problem.value = undefined;
    const common = { password: "", register: false, invitation: "", label: browserName() };
    const found = await app.logIn({ ...common, user, ticket: ticket.ticket, replaces });
    if (found === undefined) {
      forgetAnswer();
    }
    busy.value = false;
    problem.value = found;
  };
  useEffect(() => {
    if (ticket.user !== "") {
      void enter(ticket.user, false);
    } else {
      first.current?.focus();
    }
  }, []);
  const submit = (event: Event): void => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    void enter(ticket.user || fieldOf(form, "user").trim().toLowerCase(), fieldOf(form, "replaces") !== "");
  };
  const isFull = problem.value?.name === "TooManyDevicesError";
  return (
    <main class="alone">
      <h1>Sparrow</h1>
      <form class="login" onSubmit={submit}>
        {ticket.user === "" && (
          <label>
            Choose a name. It stays, and others see it.
            <input
              ref={first}
              name="user"
              defaultValue={ticket.proposed}
              required
              maxLength={64}
              autocomplete="off"
              autocapitalize="none"
              spellcheck={false}
            />
          </label>
        )}
        {problem.value !== undefined && (
          <p class="wrong" role="alert">
            {problem.value.text}
          </p>
        )}
        {isFull && (
          <label class="check">
            <input name="replaces" type="checkbox" />
            Remove the device that was silent longest, and log in in its place
          </label>
        )}
        <button type="submit" class="first" disabled={busy.value}>
          {busy.value ? "One moment…" : ticket.user === "" ? "Make the account" : `Log in as ${ticket.user}`}
        </button>
        <button type="button" class="plain" onClick={forgetAnswer}>
          Not now
        </button>
      </form>
    </main>
  );
}
