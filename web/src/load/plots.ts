/**
 * The pictures of a load test's report: each `figure` of the page has what is to be drawn as JSON (`load/plots.py`).
 *
 * Owns how it is drawn. Asks nobody for anything.
 */

import uPlot from "uplot";

import { colour } from "../colours.ts";
import { amount, moment, share } from "./words.ts";

const HEIGHT = 210;
const COLOURS = 6;
/** Between two of its labels, in pixels. */
const PERCENTILE_SPACE = 56;
/** Where the axis of percentiles is told: 50 %, 90 %, 99 % and so on. */
const NINES = [Math.log10(2), 1, 2, 3, 4, 5, 6];

interface Curve {
  readonly name: string;
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
  readonly colour: number;
  readonly dashed: boolean;
}

interface Plot {
  readonly unit: string;
  readonly curves: readonly Curve[];
  readonly kind: "time" | "percentile";
  readonly bars: boolean;
  readonly logarithmic: boolean;
  readonly bands: readonly (readonly [number, number, string])[];
}

/** Draws one, anew whenever colours change, and as wide as there is room. */
export function draw(figure: HTMLElement): void {
  const place = figure.querySelector<HTMLElement>(".drawing");
  const told = figure.querySelector("script")?.textContent;
  if (place === null || told === undefined) {
    return;
  }
  const plot = JSON.parse(told) as Plot;
  // Each curve has its own moments.
  const data = uPlot.join(plot.curves.map((each) => [each.x, each.y] as unknown as uPlot.AlignedData));
  let drawn = new uPlot(options(plot, figure, place), data, place);
  new ResizeObserver(() => {
    if (place.clientWidth > 0) {
      drawn.setSize({ width: place.clientWidth, height: HEIGHT });
    }
  }).observe(place);
  const again = (): void => {
    drawn.destroy();
    drawn = new uPlot(options(plot, figure, place), data, place);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

function options(plot: Plot, figure: HTMLElement, place: HTMLElement): uPlot.Options {
  const faint = colour(place, "--faint");
  const font = `12px ${getComputedStyle(place).fontFamily}`;
  const axis = { stroke: faint, font, grid: { stroke: colour(place, "--line"), width: 1 }, ticks: { show: false } };
  const isTime = plot.kind === "time";
  const section = figure.closest("section")?.id ?? "";
  return {
    width: Math.max(place.clientWidth, 200),
    height: HEIGHT,
    padding: [plot.bands.length > 0 ? 20 : 10, 14, 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: `${section} ${plot.kind}`, scales: ["x", null] },
      y: false,
      points: { size: 7 },
      drag: { x: false, y: false },
      dataIdx: nearest,
    },
    scales: {
      x: { time: false, range: (_, first, last) => [isTime ? Math.min(first, plot.bands[0]?.[0] ?? 0) : first, last] },
      y: plot.logarithmic
        ? { distr: 3, range: (_, least, most) => [least * 0.8, most * 1.25] }
        : { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] },
    },
    axes: [
      isTime
        ? { ...axis, size: 26, space: 64, incrs: STEPS_S, values: (u, at) => at.map((each) => moment(each, ends(u))) }
        : { ...axis, size: 26, splits: nines, values: (_, at) => at.map(share) },
      {
        ...axis,
        ...(plot.logarithmic ? { splits: powers, filter: (_: uPlot, at: number[]) => at } : {}),
        ...(plot.bars && !plot.logarithmic ? { incrs: COUNTS } : {}),
        size: (_, values) => 14 + 7 * longest(values),
        space: 34,
        values: (_, at) => at.map(amount),
      },
    ],
    series: [{}, ...plot.curves.map((curve) => series(curve, plot, place))],
    hooks: {
      drawClear: [(drawn) => phases(drawn, plot, { faint, font, fill: colour(place, "--band") })],
      setCursor: [(drawn) => tell(drawn, plot, figure)],
    },
  };
}

const COUNTS = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((each) => each * 10 ** power));
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

/** Of the axis of percentiles: as many as there is room for, from the last one on, which says most. */
function nines(drawn: uPlot): number[] {
  const space = (PERCENTILE_SPACE * ends(drawn)) / Math.max(1, drawn.bbox.width / devicePixelRatio);
  const kept: number[] = [];
  for (const at of NINES.filter((each) => each <= ends(drawn)).reverse()) {
    if ((kept.at(-1) ?? Infinity) - at >= space) {
      kept.push(at);
    }
  }
  return kept.reverse();
}

/** Of a logarithmic axis: powers of ten, and what is between them where there is room. */
function powers(drawn: uPlot): number[] {
  const { min, max } = drawn.scales["y"] ?? {};
  const [least, most] = [min ?? 1, max ?? 1];
  const tens = Array.from({ length: 13 }, (_, n) => 10 ** (n - 4));
  const finer = tens.flatMap((ten) => [ten, 2 * ten, 5 * ten]);
  const inside = (values: number[]): number[] => values.filter((value) => value >= least && value <= most);
  return inside(finer).length <= 6 ? inside(finer) : inside(tens);
}

/** Nothing is known before the first time. */
function longest(texts: readonly string[] | null): number {
  return Math.max(0, ...(texts ?? []).map((each) => each.length));
}

function series(curve: Curve, plot: Plot, place: HTMLElement): uPlot.Series {
  const stroke = colour(place, `--line-${curve.colour % COLOURS}`);
  const common = { label: curve.name, stroke, spanGaps: true };
  if (plot.bars) {
    const paths = uPlot.paths.bars?.({ size: [0.7, 18] });
    return { ...common, width: 0, fill: stroke, points: { show: false }, ...(paths ? { paths } : {}) };
  }
  const points = { show: plot.kind === "time" && curve.x.length <= 40, size: 5, fill: stroke };
  return { ...common, width: 2, points, ...(curve.dashed ? { dash: [6, 4] } : {}) };
}

function ends(drawn: uPlot): number {
  return drawn.scales["x"]?.max ?? 0;
}

/** The moment next to the pointer at which this curve has a value. */
function nearest(drawn: uPlot, number: number, index: number): number {
  const values = drawn.data[number];
  for (let away = 0; values !== undefined && away < values.length; away++) {
    for (const at of [index - away, index + away]) {
      if (typeof values[at] === "number") {
        return at;
      }
    }
  }
  return index;
}

interface Looks {
  readonly faint: string;
  readonly font: string;
  readonly fill: string;
}

/** Behind everything: which phase it was. A name is written where there is room. */
function phases(drawn: uPlot, plot: Plot, looks: Looks): void {
  const { ctx, bbox } = drawn;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = looks.font.replace("12px", `${11 * ratio}px`);
  ctx.textBaseline = "bottom";
  for (const [number, [from, to, name]] of plot.bands.entries()) {
    const [left, right] = [from, to].map((at) =>
      Math.min(Math.max(drawn.valToPos(at, "x", true), bbox.left), bbox.left + bbox.width),
    ) as [number, number];
    if (number % 2 === 1) {
      ctx.fillStyle = looks.fill;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
    }
    if (ctx.measureText(name).width + 8 * ratio < right - left) {
      ctx.fillStyle = looks.faint;
      ctx.fillText(name, left, bbox.top - 2 * ratio);
    }
  }
  ctx.restore();
}

/** In words beside the names: what is under the pointer. */
function tell(drawn: uPlot, plot: Plot, figure: HTMLElement): void {
  const { idx, idxs } = drawn.cursor;
  const at = typeof idx === "number" ? drawn.data[0][idx] : undefined;
  const when = plot.kind === "time" ? moment : share;
  const place = figure.querySelector(".at");
  if (place !== null) {
    place.textContent = at === undefined ? "" : `at ${when(at, ends(drawn))}`;
  }
  for (const [number, value] of figure.querySelectorAll("figcaption li b").entries()) {
    const index = idxs?.[number + 1];
    const known = at === undefined || typeof index !== "number" ? undefined : drawn.data[number + 1]?.[index];
    value.textContent = typeof known === "number" ? amount(known) : "";
  }
}

for (const figure of document.querySelectorAll<HTMLElement>("figure.plot")) {
  draw(figure);
}
