/** Logging in, and making an account. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { LoginWays } from "sparrow-client";

import type { Problem } from "../model/told.ts";
import { handed } from "../state/handed.ts";
import { goToProvider, learnWays, returned, ways } from "../state/provider.ts";
import { browserName } from "./browser_name.ts";
import { useApp } from "./context.ts";
import { fieldOf } from "./form.ts";
import { Vouched } from "./vouched.tsx";

interface LoginProps {
  readonly user: string;
  readonly problem: Problem | undefined;
}

export function Login({ user, problem }: LoginProps): JSX.Element {
  if (!isSecureContext) {
    return <Insecure />;
  }
  return <Ways user={user} problem={problem} />;
}

/** With a password, or the OpenID provider, or either. */
function Ways({ user, problem }: LoginProps): JSX.Element {
  const isHanded = handed.value !== undefined;
  useEffect(() => void learnWays(), []);
  const known = ways.value;
  const back = returned.value;
  if (back.at === "asking") {
    return (
      <main class="alone">
        <h1>Sparrow</h1>
        <p role="status">One moment…</p>
      </main>
    );
  }
  if (back.at === "vouched") {
    return <Vouched key={back.ticket.ticket} ticket={back.ticket} />;
  }
  const hasPasswords = known?.passwords !== false || isHanded;
  const said = back.at === "refused" ? back.problem : problem;
  return (
    <main class="alone">
      <h1>Sparrow</h1>
      {known !== undefined && known.oidcName !== "" && <ToProvider name={known.oidcName} />}
      {hasPasswords && <Form user={user} problem={said} canRegister={isHanded || registers(known)} />}
      {!hasPasswords && said !== undefined && (
        <p class="wrong" role="alert">
          {said.text}
        </p>
      )}
    </main>
  );
}

function registers(known: LoginWays | undefined): boolean {
  return known === undefined || known.registration === "open" || known.registration === "invitation";
}

function ToProvider({ name }: { readonly name: string }): JSX.Element {
  const busy = useSignal(false);
  const wrong = useSignal("");
  const leave = async (): Promise<void> => {
    busy.value = true;
    wrong.value = "";
    const found = await goToProvider();
    // Else the page is being left.
    if (found !== undefined) {
      busy.value = false;
      wrong.value = found.text;
    }
  };
  return (
    <div class="login">
      <button type="button" class="first" disabled={busy.value} onClick={() => void leave()}>
        {busy.value ? "One moment…" : `Log in with ${name}`}
      </button>
      {wrong.value !== "" && (
        <p class="wrong" role="alert">
          {wrong.value}
        </p>
      )}
    </div>
  );
}

/** What browsers keep from pages that came over plain HTTP from another machine. */
function Insecure(): JSX.Element {
  return (
    <main class="alone">
      <h1>Sparrow</h1>
      <p role="alert">
        This page came over plain <code>http</code> from another machine. Browsers give such pages no locks and no
        cryptography, which are needed here; and everybody on the way could read your password.
      </p>
      <p>
        Whoever runs the server can make a certificate: <code>sparrow keys certificate {location.hostname} tls</code>{" "}
        makes one and says what to put into the settings. Then open <code>https://{location.host}/</code>. On the
        machine itself <code>{`http://127.0.0.1${location.port && `:${location.port}`}/`}</code> works as it is.
      </p>
    </main>
  );
}

interface FormProps extends LoginProps {
  readonly canRegister: boolean;
}

function Form({ user, problem, canRegister }: FormProps): JSX.Element {
  const app = useApp();
  const invited = handed.value?.kind === "invite" ? handed.value.code : "";
  const register = useSignal(invited !== "");
  const asksCode = useSignal(invited !== "");
  const busy = useSignal(false);
  const wrong = useSignal(problem?.text ?? "");
  /** There are too many devices: one may have to go. */
  const isFull = useSignal(false);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const enter = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const password = fieldOf(form, "password");
    if (register.value && password !== fieldOf(form, "again")) {
      wrong.value = "The two passwords differ: type them once more.";
      return;
    }
    busy.value = true;
    wrong.value = "";
    const name = fieldOf(form, "user").trim().toLowerCase();
    const replaces = fieldOf(form, "replaces") !== "";
    const invitation = fieldOf(form, "invitation").trim();
    const asked = {
      user: name,
      password,
      ticket: "",
      register: register.value,
      invitation,
      replaces,
      label: browserName(),
    };
    const found = await app.logIn(asked);
    if (found === undefined) {
      handed.value = undefined;
    }
    busy.value = false;
    wrong.value = found?.text ?? "";
    asksCode.value ||= found?.name === "InvitationNeededError" || found?.name === "WrongCodeError";
    isFull.value = found?.name === "TooManyDevicesError";
  };
  return (
    <form class="login" onSubmit={(event) => void enter(event)}>
      <label>
        Name
        <input
          ref={first}
          name="user"
          defaultValue={user}
          required
          maxLength={64}
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
        />
      </label>
      <label>
        Password
        <input
          name="password"
          type="password"
          required
          autocomplete={register.value ? "new-password" : "current-password"}
        />
      </label>
      {register.value && (
        <label>
          Password, once more
          <input name="again" type="password" required autocomplete="new-password" />
        </label>
      )}
      {register.value && asksCode.value && (
        <label>
          Code of your invitation
          <input
            name="invitation"
            defaultValue={invited}
            required
            maxLength={64}
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
          />
        </label>
      )}
      {wrong.value !== "" && (
        <p class="wrong" role="alert">
          {wrong.value}
        </p>
      )}
      {isFull.value && (
        <label class="check">
          <input name="replaces" type="checkbox" />
          Remove the device that was silent longest, and log in in its place
        </label>
      )}
      <button type="submit" class="first" disabled={busy.value}>
        {busy.value ? "One moment…" : register.value ? "Make the account" : "Log in"}
      </button>
      {canRegister && (
        <button type="button" class="plain" onClick={() => (register.value = !register.value)}>
          {register.value ? "I have an account" : "I am new here"}
        </button>
      )}
    </form>
  );
}
