/**
 * The lines of one conversation that a tab has, in order, each once.
 *
 * Owns how what is paged and what comes are put together. Asks nobody: what it needs is given to it.
 */

import { signal } from "@preact/signals";

import { further, isAbove, type Line, merged, placed } from "../model/line.ts";
import type { LinePage, Place } from "../model/told.ts";

export type PageOf = (before: Place | undefined) => Promise<LinePage>;

export class Timeline {
  readonly peer: string;
  /** In order. */
  readonly lines = signal<readonly Line[]>([]);
  /** Counts lines that were put above all others, so that what is in view stays there. */
  readonly above = signal(0);
  readonly isLoading = signal(false);
  /** There is something older to be asked for. */
  readonly hasOlder = signal(true);
  /** The server could not be asked when this was loaded. */
  readonly isPartial = signal(false);
  readonly problem = signal("");
  readonly #page: PageOf;
  readonly #byName = new Map<string, Line>();
  readonly #byDraft = new Map<string, Line>();
  #next: Place | undefined;
  #isBegun = false;
  #isAnew = false;
  /** One after another. */
  #loading: Promise<void> = Promise.resolve();
  #isBeginning = false;

  constructor(peer: string, page: PageOf) {
    this.peer = peer;
    this.#page = page;
  }

  get isBegun(): boolean {
    return this.#isBegun;
  }

  /**
   * Ask for the newest lines, again if they were asked for. `isAnew`: what has no number yet was said by a run of the
   * device that is over, and is told anew with them.
   */
  begin(isAnew = false): Promise<void> {
    this.#isAnew ||= isAnew;
    if (!this.#isBeginning) {
      this.#isBeginning = true;
      this.#loading = this.#loading.then(() => {
        this.#isBeginning = false;
        return this.#load(undefined);
      });
    }
    return this.#loading;
  }

  /** Ask for what is older. Where that failed, a person has to say that it is to be tried again. */
  older(): Promise<void> {
    if (!this.isLoading.value && this.#next !== undefined && this.problem.value === "") {
      const next = this.#next;
      this.isLoading.value = true;
      this.#loading = this.#loading.then(() => this.#load(next));
    }
    return this.#loading;
  }

  /** Go back as far as this line, or as `most` pages lead; whether it is here. */
  async seek(name: string, most: number): Promise<boolean> {
    if (!this.#isBegun) {
      await this.begin();
    }
    for (let pages = 0; !this.has(name) && this.hasOlder.value && this.problem.value === "" && pages < most; pages++) {
      await this.older();
    }
    return this.has(name);
  }

  async #load(before: Place | undefined): Promise<void> {
    this.isLoading.value = true;
    this.problem.value = "";
    try {
      const { lines, next, isPartial } = await this.#page(before);
      const isFirst = !this.#isBegun;
      this.#isBegun = true;
      this.isPartial.value = isPartial;
      // Paging anew from the end does not lose how far it had come.
      if (before !== undefined || isFirst) {
        this.#next = next;
        this.hasOlder.value = next !== undefined;
      }
      if (before === undefined && this.#isAnew) {
        this.#isAnew = false;
        this.#dropDrafts();
      }
      this.put(lines);
    } catch (error) {
      this.problem.value = error instanceof Error ? error.message : String(error);
    } finally {
      this.isLoading.value = false;
    }
  }

  /** Take lines in, in any order. */
  put(lines: readonly Line[]): void {
    if (lines.length === 0) {
      return;
    }
    const first = this.lines.value[0];
    const gone = new Set<Line>();
    const come: Line[] = [];
    for (const line of lines) {
      const known = this.#known(line);
      const kept = known.reduce((told, each) => merged(each, told), line);
      known.forEach((each) => gone.add(each));
      this.#remember(kept);
      come.push(kept);
    }
    const stay = gone.size === 0 ? this.lines.value : this.lines.value.filter((each) => !gone.has(each));
    const unique = [...new Map(come.map((each) => [each.name || each.draft, each])).values()];
    const after = placed(inOrder(stay, unique));
    if (first !== undefined) {
      const at = after.findIndex((each) => each === first || (each.name !== "" && each.name === first.name));
      this.above.value += Math.max(0, at);
    }
    this.lines.value = after;
  }

  #dropDrafts(): void {
    this.#byDraft.clear();
    this.lines.value = this.lines.value.filter(({ name }) => name !== "");
  }

  /** What is known of it: by its name, and by its draft. */
  #known(line: Line): Line[] {
    const named = line.name === "" ? undefined : this.#byName.get(line.name);
    const drafted = line.draft === "" ? undefined : this.#byDraft.get(line.draft);
    return [...new Set([named, drafted])].filter((each) => each !== undefined);
  }

  #remember(line: Line): void {
    if (line.name !== "") {
      this.#byName.set(line.name, line);
    }
    if (line.draft !== "") {
      this.#byDraft.set(line.draft, line);
    }
  }

  /** Leave out what was not sent, and will not be. */
  forget({ draft }: Line): void {
    this.#byDraft.delete(draft);
    this.lines.value = this.lines.value.filter((line) => line.draft !== draft);
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** The other has read all up to a stamp. */
  readUpTo(stamp: bigint, user: string): void {
    const read = this.lines.value.filter(
      ({ author, stamp: at, progress }) => author === user && at !== 0n && at <= stamp && progress !== "read",
    );
    this.put(read.map((line) => ({ ...line, progress: further(line.progress, "read") })));
  }
}

/** `sorted` with others in it. Mostly they come behind, or above, all that is there. */
function inOrder(sorted: readonly Line[], others: readonly Line[]): Line[] {
  const rest = [...others].sort((one, other) => (isAbove(one, other) ? -1 : 1));
  const last = sorted.at(-1);
  const [first] = rest;
  if (last === undefined || first === undefined || isAbove(last, first)) {
    return [...sorted, ...rest];
  }
  const found: Line[] = [];
  let at = 0;
  for (const line of sorted) {
    for (let next = rest[at]; next !== undefined && isAbove(next, line); next = rest[at]) {
      found.push(next);
      at++;
    }
    found.push(line);
  }
  return [...found, ...rest.slice(at)];
}
