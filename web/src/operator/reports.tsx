/** What users have reported. What messages say is not shown here, ever. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { ask, part, wordsOf } from "./api.ts";
import { Action, More, Name, Sure, usePages, Wrong } from "./parts.tsx";
import type { Report } from "./told.ts";
import { when } from "./words.ts";

export function Reports(): JSX.Element {
  const failed = useSignal("");
  const takes = useSignal<Report | undefined>(undefined);
  const { items, trouble, more, busy, again } = usePages<Report>("", async (cursor) => {
    const page = await ask<{ reports: Report[]; next: string | null }>("GET", `reports?after=${part(cursor)}`);
    return { items: page.reports, next: page.next };
  });
  const drop = async (report: string): Promise<void> => {
    try {
      await ask("DELETE", `reports/${part(report)}`);
      failed.value = "";
    } catch (error) {
      failed.value = wordsOf(error);
    }
    again();
  };
  const taken = takes.value;
  return (
    <section aria-labelledby="reports">
      <h2 id="reports">Reports</h2>
      <p class="faint">
        What a message says is not shown here: <code>GET /v1/admin/reports</code> has it. Looking is in the audit log.
      </p>
      <Wrong text={trouble || failed.value} />
      {items.length === 0 && trouble === "" && <p class="faint">{busy ? "One moment…" : "There is none."}</p>}
      <ul class="reports">
        {items.map((each) => (
          <li key={each.report}>
            <p>
              <strong>{each.reporter}</strong> reports a message of <strong>{each.message.author}</strong>
              {each.group !== undefined && (
                <>
                  {" "}
                  in the group <code>{each.group}</code>
                </>
              )}
              , {when(each.reported_ms)}
            </p>
            <blockquote>
              {each.text === "" ? <span class="faint">(no words)</span> : <Name text={each.text} />}
            </blockquote>
            <footer>
              <button type="button" class="danger" onClick={() => (takes.value = each)}>
                Take the message down…
              </button>
              <Action label="Drop the report" onDo={() => drop(each.report)} />
            </footer>
          </li>
        ))}
      </ul>
      <More busy={busy} onMore={more} />
      {taken !== undefined && (
        <Sure
          title="Take the message down"
          text="It is erased for everybody who was written to, and shows that an operator did it. The report stays until you drop it."
          word={taken.message.author}
          yes="Take down"
          onYes={() => takeDown(taken)}
          onClose={() => (takes.value = undefined)}
        />
      )}
    </section>
  );
}

async function takeDown(report: Report): Promise<void> {
  const { author, device, stream, id } = report.message;
  await ask("POST", "take-down", { author, device, stream, id, members: report.members, group: report.group ?? "" });
}
