/** Setting a new password by a code. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { handed, setPassword } from "../state/handed.ts";
import { fieldOf } from "./form.ts";

interface ResetProps {
  readonly user: string;
  readonly code: string;
}

export function Reset({ user, code }: ResetProps): JSX.Element {
  const busy = useSignal(false);
  const wrong = useSignal("");
  const isDone = useSignal(false);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const leave = (): void => {
    handed.value = undefined;
  };
  const set = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const password = fieldOf(form, "password");
    if (password !== fieldOf(form, "again")) {
      wrong.value = "The two passwords differ: type them once more.";
      return;
    }
    busy.value = true;
    wrong.value = "";
    const found = await setPassword(user, code, password);
    busy.value = false;
    wrong.value = found?.text ?? "";
    isDone.value = found === undefined;
  };
  if (isDone.value) {
    return (
      <main class="alone">
        <h1>Sparrow</h1>
        <p role="status">The password of {user} is the new one, and all devices are logged out.</p>
        <button type="button" class="first" onClick={leave}>
          Go on
        </button>
      </main>
    );
  }
  return (
    <main class="alone">
      <h1>Sparrow</h1>
      <form class="login" onSubmit={(event) => void set(event)}>
        <p>A new password for {user}. All devices that are logged in will be logged out.</p>
        <input type="hidden" name="user" value={user} autocomplete="username" />
        <label>
          New password
          <input ref={first} name="password" type="password" required autocomplete="new-password" />
        </label>
        <label>
          New password, once more
          <input name="again" type="password" required autocomplete="new-password" />
        </label>
        {wrong.value !== "" && (
          <p class="wrong" role="alert">
            {wrong.value}
          </p>
        )}
        <button type="submit" class="first" disabled={busy.value}>
          {busy.value ? "One moment…" : "Set the password"}
        </button>
        <button type="button" class="plain" onClick={leave}>
          Not now
        </button>
      </form>
    </main>
  );
}
