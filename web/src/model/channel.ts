/**
 * Tabs ask the one that is the device, over a BroadcastChannel, and hear what it tells.
 *
 * Owns the form of what goes over the channel, which no other origin can reach. Asks only what `answers` has.
 */

import { problemOf, type Told, ToldError } from "./told.ts";

type Said =
  | { readonly told: Told }
  | { readonly asked: string; readonly path: string; readonly args: readonly unknown[] }
  | { readonly answered: string; readonly value: unknown }
  | { readonly answered: string; readonly problem: ReturnType<typeof problemOf> }
  /** Another tab is the device from now on. */
  | { readonly leads: true }
  /** The person has logged out. */
  | { readonly over: true };

/** Answers one call; `path`: such as "chat.send". */
export type Answers = (path: string, args: readonly unknown[]) => Promise<unknown>;

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const GONE = {
  name: "UnavailableError",
  text: "the tab that was connected has gone: look, and try again",
  trouble: "",
};

export class Channel {
  readonly #channel: BroadcastChannel;
  readonly #waiting = new Map<string, Waiting>();
  readonly #told: (told: Told) => void;
  readonly #leads: () => void;
  readonly #over: () => void;
  readonly #patienceMs: number;
  #answers: Answers | undefined;
  #isClosed = false;

  /** `told`: hears what the leading tab tells; `leads`: there is another one; `over`: the login has ended; `patienceMs`: for a new one to answer. */
  constructor(name: string, told: (told: Told) => void, leads: () => void, over: () => void, patienceMs = 3_000) {
    this.#channel = new BroadcastChannel(`sparrow-page:${name}`);
    this.#told = told;
    this.#leads = leads;
    this.#over = over;
    this.#patienceMs = patienceMs;
    this.#channel.onmessage = ({ data }: MessageEvent<Said>) => this.#heard(data);
  }

  #heard(said: Said): void {
    if ("told" in said) {
      this.#told(said.told);
    } else if ("asked" in said) {
      void this.#answer(said.asked, said.path, said.args);
    } else if ("answered" in said) {
      this.#answered(said);
    } else if ("leads" in said) {
      // Some may have been asked of the new one already, which then answers.
      const asked = [...this.#waiting.keys()];
      setTimeout(() => this.#giveUp(asked), this.#patienceMs);
      this.#leads();
    } else {
      this.#over();
    }
  }

  async #answer(asked: string, path: string, args: readonly unknown[]): Promise<void> {
    if (this.#answers === undefined) {
      return; // it is for the leading tab
    }
    try {
      this.#say({ answered: asked, value: await this.#answers(path, args) });
    } catch (error) {
      this.#say({ answered: asked, problem: problemOf(error) });
    }
  }

  #answered(said: Extract<Said, { answered: string }>): void {
    const waiting = this.#waiting.get(said.answered);
    this.#waiting.delete(said.answered);
    if ("problem" in said) {
      waiting?.reject(new ToldError(said.problem));
    } else {
      waiting?.resolve(said.value);
    }
  }

  #giveUp(asked: readonly string[]): void {
    for (const each of asked) {
      this.#waiting.get(each)?.reject(new ToldError(GONE));
      this.#waiting.delete(each);
    }
  }

  #say(said: Said): void {
    if (!this.#isClosed) {
      this.#channel.postMessage(said);
    }
  }

  /** This tab leads: it answers from now on. */
  lead(answers: Answers): void {
    this.#answers = answers;
    this.#giveUp([...this.#waiting.keys()]);
    this.#say({ leads: true });
  }

  /** This tab leads no more. */
  follow(): void {
    this.#answers = undefined;
  }

  tell(told: Told): void {
    this.#say({ told });
  }

  /** Tell all tabs that the login is over. */
  end(): void {
    this.#say({ over: true });
  }

  ask(path: string, args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const asked = crypto.randomUUID();
      this.#waiting.set(asked, { resolve, reject });
      this.#say({ asked, path, args });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#giveUp([...this.#waiting.keys()]);
    this.#channel.close();
  }
}
