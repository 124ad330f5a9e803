/** What is wrong first, then how much goes on, who is big, and what stands: all on one screen. */

import type { JSX } from "preact";

import { Name, Table } from "./parts.tsx";
import { Plots } from "./plots.tsx";
import { SizesView } from "./sizes.tsx";
import { state } from "./state.ts";
import type { Finding, Process } from "./told.ts";
import { amount, duration, when } from "./words.ts";
import { sizeText } from "../views/size.ts";

const DAY_S = 86_400;

export function Overview(): JSX.Element {
  const known = state.value;
  if (known === undefined || known.number === 0) {
    return <p class="faint">One moment…</p>;
  }
  return (
    <>
      <Findings found={known.findings} count={known.processes.length} />
      <Plots />
      <SizesView />
      <Processes processes={known.processes} />
      <Standing processes={known.processes} nowS={known.unix_ms / 1000} />
      <p class="faint">As of {when(known.unix_ms)}.</p>
    </>
  );
}

function Findings({ found, count }: { found: readonly Finding[]; count: number }): JSX.Element {
  return (
    <section aria-labelledby="wrong" aria-live="polite">
      <h2 id="wrong">What is wrong</h2>
      {found.length === 0 ? (
        <p class="well">Nothing: all {count} processes can do what they are for.</p>
      ) : (
        <ul class="findings">
          {found.map((each) => (
            <li key={`${each.name} ${each.where} ${each.text}`} class={each.severity}>
              <p>
                <span class="badge">{each.severity}</span>
                <strong>
                  {each.where !== "" && (
                    <>
                      <Name text={each.where} />:{" "}
                    </>
                  )}
                  {each.text}
                </strong>
              </p>
              <p class="faint">
                {each.cure} <code>{each.name}</code>
              </p>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Processes({ processes }: { processes: readonly Process[] }): JSX.Element {
  return (
    <section aria-labelledby="processes">
      <h2 id="processes">Processes</h2>
      <Table label="Processes">
        <thead>
          <tr>
            <th scope="col">Process</th>
            <th scope="col">State</th>
            <th scope="col">Version</th>
            <th scope="col" class="number">
              Up
            </th>
            <th scope="col" class="number">
              Sessions
            </th>
            <th scope="col" class="number">
              Messages/s
            </th>
            <th scope="col" class="number">
              Requests/s
            </th>
            <th scope="col" class="number">
              Store ms
            </th>
            <th scope="col" class="number">
              Loop late ms
            </th>
            <th scope="col" class="number">
              CPU %
            </th>
            <th scope="col" class="number">
              MiB
            </th>
          </tr>
        </thead>
        <tbody>
          {processes.map((each) => (
            <ProcessRow key={each.address} process={each} />
          ))}
        </tbody>
      </Table>
    </section>
  );
}

function ProcessRow({ process }: { process: Process }): JSX.Element {
  if (process.trouble !== "") {
    return (
      <tr>
        <th scope="row">
          <Name text={process.name} />
        </th>
        <td class="bad">down</td>
        <td colSpan={9}>{process.trouble}</td>
      </tr>
    );
  }
  const lacks = Object.keys(process.not_ready ?? {});
  const value = (name: string): string => amount(process.values?.[name]);
  return (
    <tr>
      <th scope="row">
        <Name text={process.name} /> <span class="faint">{process.role !== process.name && process.role}</span>
      </th>
      <td class={lacks.length === 0 ? "good" : "bad"}>
        {lacks.length === 0 ? "able" : `cannot ${lacks.join(", ").replaceAll("_", " ")}`}
      </td>
      <td>{process.version}</td>
      <td class="number">{duration(process.up_s ?? 0)}</td>
      <td class="number">{value("sessions")}</td>
      <td class="number">{value("messages")}</td>
      <td class="number">{value("requests")}</td>
      <td class="number">{value("store_ms")}</td>
      <td class="number">{value("lag_ms")}</td>
      <td class="number">{value("cpu")}</td>
      <td class="number">{value("mib")}</td>
    </tr>
  );
}

function Standing({ processes, nowS }: { processes: readonly Process[]; nowS: number }): JSX.Element {
  const there = processes.filter((each) => each.trouble === "");
  const stores = there.filter((each) => each.free_bytes !== null && each.free_bytes !== undefined);
  const backups = there.filter((each) => each.backup_s !== null && each.backup_s !== undefined);
  const certificates = there.flatMap((each) => (each.certificates ?? []).map((one) => ({ ...one, name: each.name })));
  const versions = Map.groupBy(there, (each) => each.version ?? "");
  return (
    <div class="standing">
      <Facts title="Stores" none="No process tells of one.">
        {stores.map((each) => [each.name, `${sizeText(each.free_bytes ?? 0)} free`, false])}
      </Facts>
      <Facts title="Certificates" none="None is in use.">
        {certificates.map((each) => [
          `${each.name} ${each.setting}`,
          each.end_s > nowS ? `${duration(each.end_s - nowS)} left` : "has expired",
          each.end_s - nowS < 21 * DAY_S,
        ])}
      </Facts>
      <Facts title="Backups" none="No process tells of any: set monitor.backup_folder.">
        {backups.map((each) => [
          each.name,
          each.backup_s ? `${duration(nowS - each.backup_s)} old, ${sizeText(each.backup_bytes ?? 0)}` : "none yet",
          !each.backup_s || nowS - each.backup_s > 1.5 * DAY_S,
        ])}
      </Facts>
      <Facts title="Versions" none="Nobody tells one.">
        {[...versions].map(([version, of]) => [version, of.map((each) => each.name).join(", "), versions.size > 1])}
      </Facts>
    </div>
  );
}

interface FactsProps {
  readonly title: string;
  readonly none: string;
  /** What, how it is, and whether that is wrong. */
  readonly children: readonly (readonly [string, string, boolean])[];
}

function Facts({ title, none, children }: FactsProps): JSX.Element {
  return (
    <section class="facts">
      <h2>{title}</h2>
      {children.length === 0 && <p class="faint">{none}</p>}
      <dl>
        {children.map(([what, how, isWrong]) => (
          <div key={what}>
            <dt>
              <Name text={what} />
            </dt>
            <dd class={isWrong ? "bad" : undefined}>{how}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
