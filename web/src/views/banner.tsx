/** What is wrong with the connection, as long as it is. */

import type { JSX } from "preact";

import { useApp } from "./context.ts";

export function Banner(): JSX.Element | null {
  const app = useApp();
  const connection = app.connection.value;
  if (connection.state === "online" || connection.state === "ended") {
    return null;
  }
  if (connection.state === "connecting") {
    return (
      <div class="banner" role="status">
        Connecting…
      </div>
    );
  }
  return (
    <div class="banner is-offline" role="status">
      <span>
        <strong>Offline.</strong> What you write is kept, and sent when there is a connection.{" "}
        <small>{connection.reason}</small>
      </span>
      <button type="button" onClick={() => void app.try((tab) => tab.chat.hurry())}>
        Try now
      </button>
    </div>
  );
}
