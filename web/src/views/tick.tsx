/** How far a message of ours has come. */

import type { JSX } from "preact";

import type { Progress } from "../model/line.ts";

const SHOWN: Readonly<Record<Exclude<Progress, "">, readonly [string, string]>> = {
  queued: ["◷", "waiting to be sent"],
  doubtful: ["?", "may have been sent"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
  failed: ["!", "not sent"],
};

export function Tick({ progress }: { readonly progress: Progress }): JSX.Element | null {
  if (progress === "") {
    return null;
  }
  const [sign, text] = SHOWN[progress];
  return (
    <span class={`tick is-${progress}`} role="img" aria-label={text} title={text}>
      {sign}
    </span>
  );
}
