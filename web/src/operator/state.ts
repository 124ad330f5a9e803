/** What is known of the cluster, asked again and again while somebody is logged in. */

import { batch, effect, signal } from "@preact/signals";

import { ask, session, wordsOf } from "./api.ts";
import type { Sample, State } from "./told.ts";

/** An hour at the usual pace. */
const MAX_SAMPLES = 720;
const FIRST_RETRY_S = 5;

/** Undefined: nothing is known yet. */
export const state = signal<State | undefined>(undefined);
export const samples = signal<readonly Sample[]>([]);
/** Why nothing new comes; empty: it does. */
export const silence = signal("");

/** The samples that are known, and those that are new; all anew where the server was. */
export function joined(known: readonly Sample[], number: number, fresh: readonly Sample[]): readonly Sample[] {
  const last = known.at(-1)?.[0] ?? 0;
  const kept = number < last ? [] : known;
  const after = kept.at(-1)?.[0] ?? 0;
  return [...kept, ...fresh.filter((each) => (each[0] ?? 0) > after)].slice(-MAX_SAMPLES);
}

async function look(): Promise<number> {
  const last = samples.value.at(-1)?.[0] ?? 0;
  try {
    let told = await ask<State>("GET", `state?after=${last}`);
    if (told.number < last) {
      told = await ask<State>("GET", "state");
    }
    const fresh = told;
    batch(() => {
      samples.value = joined(samples.value, fresh.number, fresh.samples);
      state.value = fresh;
      silence.value = "";
    });
    return told.interval_s;
  } catch (error) {
    silence.value = wordsOf(error);
    return FIRST_RETRY_S;
  }
}

/** Looks until the returned function is called. */
export function follow(): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const turn = async (): Promise<void> => {
    const pauseS = await look();
    if (!stopped) {
      timer = setTimeout(() => void turn(), pauseS * 1000);
    }
  };
  const dispose = effect(() => {
    if (session.value === "") {
      state.value = undefined;
      samples.value = [];
    }
  });
  void turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
    dispose();
  };
}
