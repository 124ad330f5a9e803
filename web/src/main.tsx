/** Where the page begins. */

import { render } from "preact";

import { App } from "./state/app.ts";
import { tellOf } from "./state/notices.ts";
import { followAddress } from "./state/route.ts";
import { AppContext } from "./views/context.ts";
import { Page } from "./views/page.tsx";

const place = document.getElementById("page");
if (place === null) {
  throw new Error("the document has no place for the page");
}
followAddress();
const app = new App();
app.start();
tellOf(app);
render(
  <AppContext.Provider value={app}>
    <Page />
  </AppContext.Provider>,
  place,
);
