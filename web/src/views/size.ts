/** Bytes for people. */

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"] as const;

export function sizeText(bytes: number): string {
  if (bytes === 1) {
    return "1 byte";
  }
  let size = bytes;
  let at = 0;
  while (size >= 1024 && at < UNITS.length - 1) {
    size /= 1024;
    at++;
  }
  return `${at === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${UNITS[at] ?? ""}`;
}
