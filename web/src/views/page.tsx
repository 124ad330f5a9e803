/** The whole page, by what is to be shown now. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

import { handed } from "../state/handed.ts";
import { addressOf, type Route, route } from "../state/route.ts";
import { About } from "./about.tsx";
import { Banner } from "./banner.tsx";
import { useApp } from "./context.ts";
import { Conversation } from "./conversation.tsx";
import { List } from "./list.tsx";
import { Login } from "./login.tsx";
import { People } from "./people.tsx";
import { Reset } from "./reset.tsx";
import { Search } from "./search.tsx";
import { Settings } from "./settings.tsx";
import { Toasts } from "./toasts.tsx";

export function Page(): JSX.Element {
  const app = useApp();
  const phase = app.phase.value;
  const code = handed.value;
  if (code?.kind === "reset") {
    return <Reset key={code.code} user={code.user} code={code.code} />;
  }
  return (
    <>
      {phase.at === "login" && <Login user={phase.user} problem={phase.problem} />}
      {phase.at === "ended" && <Ended text={phase.problem.text} />}
      {phase.at === "in" && app.tab !== undefined && <Chats />}
      <Toasts />
    </>
  );
}

function Chats(): JSX.Element {
  const at = route.value;
  useReturn(at);
  return (
    <div class={`chats ${at.at === "list" ? "shows-list" : "shows-main"}`}>
      <Banner />
      <nav class="side" aria-label="Conversations">
        <List />
      </nav>
      <main class="main">
        {at.at === "list" && <p class="empty">Choose a conversation, or begin one.</p>}
        {at.at === "chat" && <Conversation key={at.peer} peer={at.peer} />}
        {at.at === "about" && <About key={at.peer} peer={at.peer} />}
        {at.at === "people" && <People />}
        {at.at === "settings" && <Settings />}
        {at.at === "search" && <Search key={at.peer} peer={at.peer} />}
      </main>
    </div>
  );
}

/** Back in the list, a keyboard goes on where it left it. */
function useReturn(at: Route): void {
  const before = useRef(at);
  useEffect(() => {
    const from = addressOf(before.current);
    before.current = at;
    if (at.at === "list" && document.activeElement === document.body) {
      document.querySelector<HTMLElement>(`.side a[href="${from}"]`)?.focus();
    }
  }, [at]);
}

function Ended({ text }: { readonly text: string }): JSX.Element {
  return (
    <main class="alone">
      <h1>Sparrow</h1>
      <p role="alert">{text}</p>
      <button type="button" class="first" onClick={() => location.reload()}>
        Use it here
      </button>
    </main>
  );
}
