/** What the page is told, as `sparrow/operator_page` tells it. */

export interface Finding {
  readonly severity: "critical" | "warning";
  readonly name: string;
  readonly where: string;
  readonly text: string;
  readonly cure: string;
}

export interface Certificate {
  readonly setting: string;
  readonly end_s: number;
}

export interface Process {
  readonly name: string;
  readonly address: string;
  /** Why it tells nothing; then nothing below is there. */
  readonly trouble: string;
  readonly role?: string;
  readonly version?: string;
  readonly up_s?: number;
  readonly not_ready?: Readonly<Record<string, string>>;
  readonly values?: Readonly<Record<string, number | null>> | null;
  readonly brokers?: readonly [number, number] | null;
  readonly free_bytes?: number | null;
  readonly online?: number | null;
  readonly backup_s?: number | null;
  readonly backup_bytes?: number | null;
  readonly certificates?: readonly Certificate[];
}

/** Its number, Unix time in ms, and a value for each of the series. */
export type Sample = readonly (number | null)[];

export interface State {
  readonly number: number;
  readonly unix_ms: number;
  readonly interval_s: number;
  readonly findings: readonly Finding[];
  readonly processes: readonly Process[];
  readonly series: readonly string[];
  readonly samples: readonly Sample[];
}

export interface ListedAccount {
  readonly user: string;
  readonly display_name: string;
  readonly created_ms: number;
  readonly disabled: boolean;
  readonly devices: number;
  readonly logged_in: number;
  readonly last_seen_ms: number | null;
}

export interface Account {
  readonly user: string;
  readonly display_name: string;
  readonly created_ms: number;
  readonly invitation: string | null;
  readonly disabled: boolean;
  readonly own_password: boolean;
  readonly online: boolean | null;
  readonly last_seen_ms: number | null;
  readonly reset_code_ends_ms: number | null;
  readonly waiting_rows: number;
  readonly waiting_bytes: number;
  readonly uploaded_bytes: number;
  readonly devices: readonly {
    readonly device: string;
    readonly label: string;
    readonly created_ms: number;
    readonly logged_in: boolean;
  }[];
}

/** Told once. */
export interface Code {
  readonly code: string;
  readonly ends_ms: number;
  /** Empty where there is no page. */
  readonly link: string;
}

export interface Invitation {
  readonly invitation: string;
  readonly note: string;
  readonly ends_ms: number;
  readonly uses: number;
  readonly used_by: readonly string[];
}

export interface ListedGroup {
  readonly group: string;
  readonly name: string;
  readonly created_ms: number;
  readonly closed: boolean;
  readonly members: number;
}

export interface Group {
  readonly group: string;
  readonly name: string;
  readonly created_ms: number;
  readonly closed: boolean;
  readonly members: readonly { readonly user: string; readonly role: string }[];
}

export interface Report {
  readonly report: string;
  readonly reporter: string;
  readonly reported_ms: number;
  readonly group?: string;
  readonly members: readonly string[];
  readonly text: string;
  readonly message: {
    readonly author: string;
    readonly device: string;
    readonly stream: string;
    readonly id: string;
    readonly stamp: string;
    readonly kind: number;
    readonly erased_by?: string;
  };
}

export interface Usage {
  readonly user: string;
  readonly waiting_rows: number;
  readonly waiting_bytes: number;
  readonly uploaded_bytes: number;
}

export interface Sizes {
  readonly running: boolean;
  readonly begun_ms: number | null;
  readonly looked_at: number;
  readonly trouble: string;
  readonly top: {
    readonly inboxes?: readonly Usage[];
    readonly uploads?: readonly Usage[];
    readonly groups?: readonly ListedGroup[];
  };
}

export interface Setting {
  readonly name: string;
  readonly value: string;
  readonly written: boolean;
}
