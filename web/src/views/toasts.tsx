/** What is to be read once. */

import type { JSX } from "preact";

import { useApp } from "./context.ts";
import { Icon } from "./icon.tsx";

export function Toasts(): JSX.Element {
  const app = useApp();
  return (
    <div class="toasts" role="status" aria-live="polite">
      {app.toasts.all.value.map(({ id, text, isError }) => (
        <div key={id} class={isError ? "toast is-error" : "toast"}>
          <span>{text}</span>
          <button type="button" class="plain" aria-label="Close this notice" onClick={() => app.toasts.unsay(id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
