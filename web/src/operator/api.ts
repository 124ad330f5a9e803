/**
 * Requests to the process that has served this page.
 *
 * Owns the session: it is kept for this tab alone, and sent in a header. A cookie would go to whatever listens on
 * another port of the same machine as well.
 */

import { signal } from "@preact/signals";

const KEY = "session";
const TIMEOUT_MS = 15_000;

/** Empty: nobody is logged in here. */
export const session = signal(sessionStorage.getItem(KEY) ?? "");

/** Something other than success, in words. */
export class Refusal extends Error {
  readonly code: string;

  constructor(code: string, text: string) {
    super(text);
    this.code = code;
  }
}

export async function logIn(token: string): Promise<void> {
  const answer = await ask<{ session: string }>("POST", "login", { token });
  sessionStorage.setItem(KEY, answer.session);
  session.value = answer.session;
}

export async function logOut(): Promise<void> {
  try {
    await ask("POST", "logout", {});
  } finally {
    forget();
  }
}

function forget(): void {
  sessionStorage.removeItem(KEY);
  session.value = "";
}

/** One request. Throws `Refusal`. */
export async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const shown = session.value;
  let answer: Response;
  let told: unknown;
  try {
    answer = await fetch(`/api/${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${shown}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    told = await answer.json();
  } catch {
    throw new Refusal("away", "`sparrow operator` does not answer: is it up, and the way to it?");
  }
  if (answer.ok) {
    return told as T;
  }
  const problem = told as { code?: string; detail?: string };
  if (problem.code === "invalid_token" && shown === session.value) {
    forget();
  }
  throw new Refusal(problem.code ?? "", problem.detail ?? `status ${answer.status}`);
}

/** A part of a path. */
export function part(text: string): string {
  return encodeURIComponent(text);
}

/** What to say of anything that was thrown. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
