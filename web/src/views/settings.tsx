/** One's own profile, password, devices and account. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Device, ProfileChange } from "sparrow-client";

import { areNoticesOn, setNotices } from "../state/notices.ts";
import { useDevice } from "./context.ts";
import { fieldOf } from "./form.ts";
import { Confirm } from "./dialog.tsx";
import { Who } from "./people.tsx";
import { Sheet } from "./sheet.tsx";
import { wholeTime } from "./time.ts";

export function Settings(): JSX.Element {
  const { app, circle } = useDevice();
  useEffect(() => {
    void app.try(() => circle.refresh());
  }, []);
  return (
    <Sheet title="Settings">
      <Profile />
      <Notices />
      <Devices />
      <Blocks />
      <Password />
      <Leaving />
    </Sheet>
  );
}

function Profile(): JSX.Element {
  const { app, tab, circle } = useDevice();
  const me = circle.me.value;
  const change = (what: ProfileChange): void => void app.try(() => circle.changeMe(what));
  return (
    <section aria-labelledby="profile">
      <h2 id="profile">Profile</h2>
      <p>
        You are <strong>{tab.user}</strong>.
      </p>
      {me !== undefined && (
        <>
          <form
            class="in-line"
            onSubmit={(event) => {
              event.preventDefault();
              change({ display_name: fieldOf(event.currentTarget, "name").trim() });
            }}
          >
            <label>
              Name that others see
              <input
                key={me.display_name}
                name="name"
                maxLength={64}
                defaultValue={me.display_name}
                autocomplete="name"
              />
            </label>
            <button type="submit">Save</button>
          </form>
          <label class="check">
            <input
              type="checkbox"
              checked={me.hides_presence}
              onChange={(event) => change({ hides_presence: event.currentTarget.checked })}
            />
            Show nobody whether I am online
          </label>
          <label class="check">
            <input
              type="checkbox"
              checked={me.friends_may_add_me}
              onChange={(event) => change({ friends_may_add_me: event.currentTarget.checked })}
            />
            Friends may add me to groups without asking
          </label>
        </>
      )}
    </section>
  );
}

function Notices(): JSX.Element {
  const { app } = useDevice();
  const isOn = useSignal(areNoticesOn());
  const change = async (box: HTMLInputElement): Promise<void> => {
    const isWanted = box.checked;
    isOn.value = box.checked = await setNotices(isWanted);
    if (isWanted && !isOn.value) {
      app.say("The browser does not allow this page to notify you. Its settings of this page say so.", true);
    }
  };
  return (
    <section aria-labelledby="notices">
      <h2 id="notices">Notifications</h2>
      <label class="check">
        <input type="checkbox" checked={isOn.value} onChange={(event) => void change(event.currentTarget)} />
        Tell me of messages while this page is open. They say who has written, not what.
      </label>
    </section>
  );
}

function Devices(): JSX.Element {
  const { app, tab } = useDevice();
  const devices = useSignal<readonly Device[] | undefined>(undefined);
  const removing = useSignal<Device | undefined>(undefined);
  const refresh = async (): Promise<void> => {
    await app.try(async () => {
      devices.value = await tab.account.devices();
    });
  };
  useEffect(() => void refresh(), []);
  const change = (work: () => Promise<unknown>): void => {
    void app.try(work).then(refresh);
  };
  return (
    <section aria-labelledby="devices">
      <h2 id="devices">Devices</h2>
      <ul>
        {devices.value?.map((device) => (
          <li key={device.device}>
            <span class="names">
              <bdi>{device.label || device.device}</bdi>
              <small>
                {device.current ? "this one" : device.logged_in ? "logged in" : "logged out"}, since{" "}
                {wholeTime(device.created_ms)}
              </small>
            </span>
            {!device.current && device.logged_in && (
              <button type="button" onClick={() => change(() => tab.account.logOutDevice(device.device))}>
                Log out
              </button>
            )}
            {!device.current && (
              <button type="button" class="danger" onClick={() => (removing.value = device)}>
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
      {removing.value !== undefined && (
        <Confirm
          title={`Remove ${removing.value.label || removing.value.device}?`}
          text="It is logged out for good, and what waits for it is thrown away."
          yes="Remove"
          onYes={() => {
            const { device = "" } = removing.value ?? {};
            change(() => tab.account.removeDevice(device));
          }}
          onClose={() => (removing.value = undefined)}
        />
      )}
    </section>
  );
}

function Blocks(): JSX.Element | null {
  const { app, tab, circle } = useDevice();
  const blocks = circle.blocks.value;
  if (blocks.length === 0) {
    return null;
  }
  return (
    <section aria-labelledby="blocks">
      <h2 id="blocks">Blocked</h2>
      <ul>
        {blocks.map(({ user }) => (
          <li key={user}>
            <Who user={user} />
            <button
              type="button"
              onClick={() =>
                void app.try(async () => {
                  await tab.people.unblock(user);
                  await circle.refreshPeople();
                })
              }
            >
              Unblock
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Password(): JSX.Element {
  const { app, tab } = useDevice();
  const change = async (event: Event): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const [old, fresh, again] = ["old", "fresh", "again"].map((name) => fieldOf(form, name));
    if (fresh !== again) {
      app.say("The two new passwords differ: type them once more.", true);
      return;
    }
    if (await app.try(() => tab.account.changePassword(old ?? "", fresh ?? ""))) {
      form.reset();
      app.say("The password is changed. Your other devices are logged out.");
    }
  };
  return (
    <section aria-labelledby="password">
      <h2 id="password">Password</h2>
      <form onSubmit={(event) => void change(event)}>
        <input type="text" name="user" autocomplete="username" value={tab.user} readOnly hidden />
        <label>
          The one you have
          <input name="old" type="password" required autocomplete="current-password" />
        </label>
        <label>
          The new one
          <input name="fresh" type="password" required autocomplete="new-password" />
        </label>
        <label>
          The new one, once more
          <input name="again" type="password" required autocomplete="new-password" />
        </label>
        <button type="submit">Change it, and log out my other devices</button>
      </form>
    </section>
  );
}

function Leaving(): JSX.Element {
  const { app, tab } = useDevice();
  const asking = useSignal<"" | "force">("");
  const logOut = async (isForced: boolean): Promise<void> => {
    const problem = await app.logOut(isForced);
    if (problem !== undefined) {
      asking.value = "force";
    }
  };
  const remove = async (event: Event): Promise<void> => {
    event.preventDefault();
    const password = fieldOf(event.currentTarget as HTMLFormElement, "password");
    if (await app.try(() => tab.account.delete(password))) {
      await app.logOut(true);
    }
  };
  return (
    <section aria-labelledby="leaving">
      <h2 id="leaving">Leaving</h2>
      <p>Logging out removes from this browser all that it keeps of you.</p>
      <div>
        <button type="button" onClick={() => void logOut(false)}>
          Log out
        </button>
      </div>
      <details>
        <summary>Delete the account</summary>
        <form onSubmit={(event) => void remove(event)}>
          <p>For good: nobody can write to you any more, and the name is not given to anybody else.</p>
          <label>
            Your password
            <input name="password" type="password" required autocomplete="current-password" />
          </label>
          <button type="submit" class="danger">
            Delete my account
          </button>
        </form>
      </details>
      {asking.value === "force" && (
        <Confirm
          title="The server cannot be told now"
          text="Log out all the same? What you wrote and was not sent is lost, and the device stays in your list."
          yes="Log out"
          onYes={() => void logOut(true)}
          onClose={() => (asking.value = "")}
        />
      )}
    </section>
  );
}
