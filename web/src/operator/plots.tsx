/** How much goes on, as it went lately: small plots that share their time. */

import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

import { colour } from "../colours.ts";
import { samples, state } from "./state.ts";
import type { Sample } from "./told.ts";
import { amount } from "./words.ts";

const HEIGHT = 150;
const SPAN_S = 900;

interface Plot {
  readonly title: string;
  readonly unit: string;
  /** Series as they are told, and what they are called here. */
  readonly lines: readonly (readonly [string, string])[];
}

const PLOTS: readonly Plot[] = [
  {
    title: "Messages",
    unit: "a second",
    lines: [
      ["messages", "taken"],
      ["copies", "delivered"],
      ["stored", "stored"],
    ],
  },
  {
    title: "Logins and requests",
    unit: "a second",
    lines: [
      ["logins", "sessions begun"],
      ["requests", "requests"],
    ],
  },
  {
    title: "Errors",
    unit: "a second",
    lines: [
      ["failed", "messages"],
      ["errors", "requests"],
      ["refused", "refused"],
    ],
  },
  {
    title: "Latency",
    unit: "ms",
    lines: [
      ["store_ms", "store"],
      ["request_ms", "request"],
      ["lag_ms", "event loop"],
      ["etcd_ms", "etcd"],
    ],
  },
  {
    title: "Sessions",
    unit: "now",
    lines: [
      ["sessions", "sessions"],
      ["behind", "behind"],
    ],
  },
  { title: "Processor", unit: "% of a core", lines: [["cpu", "all processes"]] },
];

export function Plots(): JSX.Element {
  return (
    <section aria-labelledby="going-on">
      <h2 id="going-on">What goes on</h2>
      <div class="plots">
        {PLOTS.map((each) => (
          <Drawn key={each.title} plot={each} />
        ))}
      </div>
    </section>
  );
}

/** Columns for uPlot: seconds, then each line. */
export function columns(
  known: readonly Sample[],
  series: readonly string[],
  lines: Plot["lines"],
): (number | null)[][] {
  const at = lines.map(([name]) => series.indexOf(name) + 2);
  return [
    known.map((each) => (each[1] ?? 0) / 1000),
    ...at.map((index) => known.map((each) => (index < 2 ? null : (each[index] ?? null)))),
  ];
}

function Drawn({ plot }: { plot: Plot }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | undefined>(undefined);
  /** Another number: colours are other ones. */
  const scheme = useSignal(0);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => {
      scheme.value++;
    };
    dark.addEventListener("change", changed);
    return () => dark.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    const element = place.current;
    if (element === null) {
      return;
    }
    const made = new uPlot(options(plot, element), data(plot, samples.peek()), element);
    drawn.current = made;
    const watching = new ResizeObserver(() => {
      if (element.clientWidth > 0) {
        made.setSize({ width: element.clientWidth, height: HEIGHT });
      }
    });
    watching.observe(element);
    return () => {
      watching.disconnect();
      made.destroy();
    };
  }, [scheme.value]);
  useSignalEffect(() => drawn.current?.setData(data(plot, samples.value)));
  const series = state.value?.series ?? [];
  const last = samples.value.at(-1);
  const newest = (name: string): string => amount(last?.[series.indexOf(name) + 2]);
  /** There is no etcd in a node. */
  const isTold = (name: string): boolean =>
    samples.value.some((each) => typeof each[series.indexOf(name) + 2] === "number");
  return (
    <figure class="plot">
      <figcaption>
        <strong>{plot.title}</strong> <span class="faint">{plot.unit}</span>
        <ul>
          {plot.lines.map(
            ([name, called], index) =>
              isTold(name) && (
                <li key={name} class={`line-${index}`}>
                  {called} <b>{newest(name)}</b>
                </li>
              ),
          )}
        </ul>
      </figcaption>
      <div ref={place} />
    </figure>
  );
}

function data(plot: Plot, known: readonly Sample[]): uPlot.AlignedData {
  return columns(known, state.peek()?.series ?? [], plot.lines) as uPlot.AlignedData;
}

function options(plot: Plot, element: HTMLElement): uPlot.Options {
  const style = getComputedStyle(element);
  const grid = { stroke: colour(element, "--line"), width: 1 };
  const axis = { stroke: colour(element, "--faint"), grid, ticks: { show: false } };
  const font = `11px ${style.fontFamily}`;
  const strokes = plot.lines.map((_, index) => colour(element, `--line-${index}`));
  return {
    width: Math.max(element.clientWidth, 200),
    height: HEIGHT,
    padding: [8, 24, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "all" }, y: false, points: { size: 6 }, drag: { x: false, y: false } },
    scales: {
      x: { range: (_, __, last) => [last - SPAN_S, last] },
      y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] },
    },
    axes: [
      { ...axis, font, size: 22, space: 60, values: (_, at) => at.map((seconds) => CLOCK.format(seconds * 1000)) },
      { ...axis, font, size: 44, space: 30, values: (_, at) => at.map((value) => amount(value)) },
    ],
    series: [
      {},
      ...plot.lines.map(([, called], index) => ({
        label: called,
        stroke: strokes[index] ?? "",
        width: 1.5,
        points: { size: 4, fill: strokes[index] ?? "" },
      })),
    ],
  };
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
