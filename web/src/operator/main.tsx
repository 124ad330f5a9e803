/** Where the operator's page begins. */

import { render } from "preact";

import { followAddress } from "./route.ts";
import { Screen } from "./screen.tsx";

const place = document.getElementById("page");
if (place === null) {
  throw new Error("the document has no place for the page");
}
followAddress();
render(<Screen />, place);
