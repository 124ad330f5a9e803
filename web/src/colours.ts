/** What a custom property's colour is just now: a canvas knows no variables, and what they hold is for light and dark. */
export function colour(element: HTMLElement, name: string): string {
  const probe = element.appendChild(document.createElement("span"));
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
