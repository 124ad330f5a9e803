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
  #answers: Answers | undefined;
  #isClosed = false;

  /** `told`: hears what the leading tab tells; `leads`: there is another one; `over`: the login has ended. */
  constructor(name: string, told: (told: Told) => void, leads: () => void, over: () => void) {
    this.#channel = new BroadcastChannel(`sparrow-page:${name}`);
    this.#told = told;
    this.#leads = leads;
    this.#over = over;
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
      this.#giveUp();
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

  #giveUp(): void {
    for (const { reject } of this.#waiting.values()) {
      reject(new ToldError(GONE));
    }
    this.#waiting.clear();
  }

  #say(said: Said): void {
    if (!this.#isClosed) {
      this.#channel.postMessage(said);
    }
  }

  /** This tab leads: it answers from now on. */
  lead(answers: Answers): void {
    this.#answers = answers;
    this.#giveUp();
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
    this.#giveUp();
    this.#channel.close();
  }
}
