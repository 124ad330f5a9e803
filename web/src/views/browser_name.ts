/** What this browser calls itself, for people. */

/** What people see of this device in their list. */
export function browserName(): string {
  const agent = navigator.userAgent;
  const browsers = [
    ["Edg/", "Edge"],
    ["OPR/", "Opera"],
    ["Firefox/", "Firefox"],
    ["Chrome/", "Chrome"],
    ["Safari/", "Safari"],
  ] as const;
  const systems = [
    ["Android", "Android"],
    ["iPhone", "iPhone"],
    ["iPad", "iPad"],
    ["Windows", "Windows"],
    ["Mac OS", "macOS"],
    ["Linux", "Linux"],
  ] as const;
  const nameIn = (known: readonly (readonly [string, string])[]): string | undefined =>
    known.find(([mark]) => agent.includes(mark))?.[1];
  return `${nameIn(browsers) ?? "a browser"} on ${nameIn(systems) ?? "some system"}`;
}
