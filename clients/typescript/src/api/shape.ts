/**
 * The form of answers, field by field, and their types.
 *
 * Owns how JSON becomes typed values. Knows no answer of its own. Fields that are not named are of a later version, and
 * passed over.
 */

/** Throws `TypeError` for what is none. */
export type Reader<T> = (value: unknown) => T;

/** What a reader reads. */
export type Of<R> = R extends Reader<infer T> ? T : never;

type Readers = Readonly<Record<string, Reader<unknown>>>;
/** An object of these fields. */
export type Shape<F extends Readers> = { readonly [K in keyof F]: Of<F[K]> };

function typed<T>(what: string, is: (value: unknown) => value is T): Reader<T> {
  return (value) => {
    if (!is(value)) {
      throw new TypeError(`it should be ${what}`);
    }
    return value;
  };
}

export const text = typed("a text", (value) => typeof value === "string");
export const flag = typed("true or false", (value) => typeof value === "boolean");
/** A whole number, as JSON has them. */
export const whole = typed("a whole number", (value): value is number => Number.isSafeInteger(value));

const DECIMAL = /^[0-9]{1,20}$/;

/** A number of 64 bits, which JSON has as a decimal string. */
export const big: Reader<bigint> = (value) => {
  if (typeof value !== "string" || !DECIMAL.test(value)) {
    throw new TypeError("it should be a number of 64 bits, as a text");
  }
  return BigInt.asUintN(64, BigInt(value));
};

/** null, or that. */
export function nullable<T>(reader: Reader<T>): Reader<T | null> {
  return (value) => (value === null ? null : reader(value));
}

/** That, or what stands for a field that is not there. */
export function or<T>(reader: Reader<T>, otherwise: T): Reader<T> {
  return (value) => (value === undefined ? otherwise : reader(value));
}

/** A list of these. */
export function list<T>(reader: Reader<T>): Reader<readonly T[]> {
  return (value) => {
    if (!Array.isArray(value)) {
      throw new TypeError("it should be a list");
    }
    return value.map(reader);
  };
}

/** An object whose values are all of one form. */
export function record<T>(reader: Reader<T>): Reader<ReadonlyMap<string, T>> {
  return (value) => new Map(Object.entries(asObject(value)).map(([key, each]) => [key, reader(each)]));
}

/** An object with these fields. */
export function object<F extends Readers>(fields: F): Reader<Shape<F>> {
  return (value) => {
    const found = asObject(value);
    const read = Object.entries(fields).map(([name, reader]) => {
      try {
        return [name, reader(found[name])];
      } catch (error) {
        throw new TypeError(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      }
    });
    return Object.fromEntries(read) as Shape<F>;
  };
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("it should be an object");
  }
  return value as Record<string, unknown>;
}
