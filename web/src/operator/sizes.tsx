/** Who is big. Only a walk through all accounts and groups can tell, so it is made when somebody asks. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";

import { sizeText } from "../views/size.ts";
import { ask, wordsOf } from "./api.ts";
import { Action, Name, Table, Wrong } from "./parts.tsx";
import type { Sizes } from "./told.ts";
import { amount, when } from "./words.ts";

const POLL_MS = 1000;

export function SizesView(): JSX.Element {
  const sizes = useSignal<Sizes | undefined>(undefined);
  const trouble = useSignal("");
  const load = async (method: string): Promise<void> => {
    try {
      sizes.value = await ask<Sizes>(method, "sizes");
      trouble.value = "";
    } catch (error) {
      trouble.value = wordsOf(error);
    }
  };
  const running = sizes.value?.running === true;
  useEffect(() => void load("GET"), []);
  useEffect(() => {
    if (!running) {
      return;
    }
    const timer = setInterval(() => void load("GET"), POLL_MS);
    return () => clearInterval(timer);
  }, [running]);
  const known = sizes.value;
  return (
    <section aria-labelledby="big">
      <header>
        <h2 id="big">Who is big</h2>
        <Action label={running ? "Looking…" : "Look"} onDo={() => load("POST")} />
      </header>
      <Wrong text={trouble.value || (known?.trouble ?? "")} />
      {known === undefined || known.begun_ms === null ? (
        <p class="faint">To tell, all accounts and groups are gone through, a few at a time.</p>
      ) : (
        <>
          <p class="faint">
            {amount(known.looked_at)} accounts and groups{running ? " until now" : ""}, as of {when(known.begun_ms)}.
          </p>
          <div class="standing">
            <Top title="Inboxes" heads={["User", "Copies", "Bytes"]}>
              {known.top.inboxes?.map((each) => (
                <Row key={each.user} cells={[each.user, amount(each.waiting_rows), sizeText(each.waiting_bytes)]} />
              ))}
            </Top>
            <Top title="Uploads" heads={["User", "Bytes"]}>
              {known.top.uploads?.map((each) => (
                <Row key={each.user} cells={[each.user, sizeText(each.uploaded_bytes)]} />
              ))}
            </Top>
            <Top title="Groups" heads={["Group", "Members"]}>
              {known.top.groups?.map((each) => (
                <Row key={each.group} cells={[each.name || each.group, amount(each.members)]} />
              ))}
            </Top>
          </div>
        </>
      )}
    </section>
  );
}

function Top({
  title,
  heads,
  children,
}: {
  title: string;
  heads: string[];
  children?: ComponentChildren;
}): JSX.Element {
  const isEmpty = !Array.isArray(children) || children.length === 0;
  return (
    <section class="facts">
      <h3>{title}</h3>
      {isEmpty ? (
        <p class="faint">None.</p>
      ) : (
        <Table label={title}>
          <thead>
            <tr>
              {heads.map((each, index) => (
                <th key={each} scope="col" class={index > 0 ? "number" : undefined}>
                  {each}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>{children}</tbody>
        </Table>
      )}
    </section>
  );
}

function Row({ cells }: { cells: readonly string[] }): JSX.Element {
  const [name = "", ...rest] = cells;
  return (
    <tr>
      <th scope="row">
        <Name text={name} />
      </th>
      {rest.map((each, index) => (
        <td key={index} class="number">
          {each}
        </td>
      ))}
    </tr>
  );
}
