/** Numbers on the axes, in English as the page is. */

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const SHORT = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const MINUTE_S = 60;
const HOUR_S = 3600;

/** As fine as matters: 1,234 or 12.3 or 0.034. */
export function amount(value: number): string {
  return (Math.abs(value) >= 100 ? WHOLE : FINE).format(value);
}

/** Seconds, in what suits a picture that ends at `last`. */
export function moment(seconds: number, last: number): string {
  if (last > 2 * HOUR_S) {
    return `${SHORT.format(seconds / HOUR_S)} h`;
  }
  return last > 3 * MINUTE_S ? `${SHORT.format(seconds / MINUTE_S)} min` : `${SHORT.format(seconds)} s`;
}

/** A place on the axis of percentiles, -log10(1 - share). */
export function share(at: number): string {
  const digits = Math.max(0, Math.ceil(at) - 2);
  return `${(100 * (1 - 10 ** -at)).toFixed(digits)} %`;
}
