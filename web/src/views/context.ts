/** How views find the app. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";

import type { Tab } from "../model/tab.ts";
import type { App } from "../state/app.ts";
import type { Circle } from "../state/people.ts";

export const AppContext = createContext<App | undefined>(undefined);

export function useApp(): App {
  const app = useContext(AppContext);
  if (app === undefined) {
    throw new Error("a view is outside the page");
  }
  return app;
}

/** The same, where somebody is logged in. */
export function useDevice(): { readonly app: App; readonly tab: Tab; readonly circle: Circle } {
  const app = useApp();
  const { tab, circle } = app;
  if (tab === undefined || circle === undefined) {
    throw new Error("nobody is logged in");
  }
  return { app, tab, circle };
}
