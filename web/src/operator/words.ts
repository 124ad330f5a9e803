/** Numbers and times for people. */

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const FINER = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const STEPS = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
] as const;

/** Such as 3d 4h, 12m 5s or 7s, as `sparrow status` has it. */
export function duration(seconds: number): string {
  let left = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [unit, size] of STEPS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0 || (unit === "s" && parts.length === 0)) {
      parts.push(`${count}${unit}`);
    }
  }
  return parts.slice(0, 2).join(" ");
}

export function when(unixMs: number | null | undefined): string {
  return unixMs === null || unixMs === undefined ? "never" : WHEN.format(unixMs);
}

/** As fine as matters: 1,234 or 12.5 or 0.034. */
export function amount(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return "–";
  }
  return (Math.abs(value) >= 100 || Number.isInteger(value) ? WHOLE : Math.abs(value) >= 1 ? FINE : FINER).format(
    value,
  );
}
