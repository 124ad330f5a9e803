/** One account, and what is done to it. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { sizeText } from "../views/size.ts";
import { ask, part, wordsOf } from "./api.ts";
import { Action, Dialog, Name, Sure, Wrong } from "./parts.tsx";
import type { Account, Code } from "./told.ts";
import { amount, when } from "./words.ts";

interface AccountProps {
  readonly user: string;
  readonly onChange: () => void;
  readonly onClose: () => void;
  readonly onCode: (code: Code) => void;
}

export function AccountDialog({ user, onChange, onClose, onCode }: AccountProps): JSX.Element {
  const known = useSignal<Account | undefined>(undefined);
  const trouble = useSignal("");
  const done = useSignal("");
  const removes = useSignal(false);
  const path = `accounts/${part(user)}`;
  const load = async (): Promise<void> => {
    try {
      known.value = await ask<Account>("GET", path);
    } catch (error) {
      trouble.value = wordsOf(error);
    }
  };
  useEffect(() => void load(), []);
  const act = async (action: string, said: string): Promise<void> => {
    trouble.value = done.value = "";
    try {
      await ask("POST", `${path}/${action}`, {});
      done.value = said;
      await load();
      onChange();
    } catch (error) {
      trouble.value = wordsOf(error);
    }
  };
  const makeCode = async (): Promise<void> => {
    try {
      const code = await ask<Code>("POST", `${path}/password-code`, {});
      onClose();
      onCode(code);
    } catch (error) {
      trouble.value = wordsOf(error);
    }
  };
  const account = known.value;
  if (removes.value) {
    return (
      <Sure
        title="Remove the account"
        text={`"${user}" ends for good, with its devices and all that waits for it, and nobody ever gets the name again.`}
        word={user}
        yes="Remove"
        onYes={async () => {
          await ask("DELETE", path);
          onChange();
          onClose();
        }}
        onClose={() => (removes.value = false)}
      />
    );
  }
  return (
    <Dialog title={user} onClose={onClose}>
      {account === undefined ? trouble.value === "" && <p class="faint">One moment…</p> : <Facts account={account} />}
      <Wrong text={trouble.value} />
      {done.value !== "" && (
        <p class="well" role="status">
          {done.value}
        </p>
      )}
      {account !== undefined && (
        <footer>
          {account.disabled ? (
            <Action label="Enable" onDo={() => act("enable", "Enabled: its user can log in again.")} />
          ) : (
            <Action label="Disable" onDo={() => act("disable", "Disabled: nobody is let in; it keeps everything.")} />
          )}
          {account.own_password && <Action label="Code for a new password" onDo={makeCode} />}
          <Action
            label="Log out everywhere"
            onDo={() => act("end-logins", "All logins have ended; devices may log in again.")}
          />
          <button type="button" class="danger" onClick={() => (removes.value = true)}>
            Remove…
          </button>
        </footer>
      )}
    </Dialog>
  );
}

function Facts({ account }: { account: Account }): JSX.Element {
  const online = account.online === null ? "no broker answers" : account.online ? "now" : "not now";
  return (
    <div class="facts">
      <dl>
        <Fact name="Name">{account.display_name === "" ? "–" : <Name text={account.display_name} />}</Fact>
        <Fact name="State">
          <span class={account.disabled ? "bad" : "good"}>{account.disabled ? "disabled" : "enabled"}</span>
        </Fact>
        <Fact name="Online">
          {online}
          {account.last_seen_ms === null ? "" : `, last ${when(account.last_seen_ms)}`}
        </Fact>
        <Fact name="Made">
          {when(account.created_ms)}
          {account.invitation !== null && `, by the invitation ${account.invitation}`}
        </Fact>
        <Fact name="Password">
          {account.own_password ? "kept here" : "kept by another system"}
          {account.reset_code_ends_ms !== null && `; a code is open until ${when(account.reset_code_ends_ms)}`}
        </Fact>
        <Fact name="Waiting">
          {amount(account.waiting_rows)} copies, {sizeText(account.waiting_bytes)}
        </Fact>
        <Fact name="Uploaded">{sizeText(account.uploaded_bytes)}</Fact>
      </dl>
      <h3>Devices</h3>
      {account.devices.length === 0 && <p class="faint">None.</p>}
      <ul class="devices">
        {account.devices.map((each) => (
          <li key={each.device}>
            <Name text={each.label || each.device} />
            <span class="faint">
              {each.logged_in ? "logged in" : "logged out"}, since {when(each.created_ms)}
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Fact({
  name,
  children,
}: {
  name: string;
  children: JSX.Element | string | (JSX.Element | string | boolean)[];
}) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
