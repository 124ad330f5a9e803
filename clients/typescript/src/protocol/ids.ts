/**
 * User, group and device ids, the limits of what a message may hold, and stamps.
 *
 * Owns their syntax. Pure functions; touches nothing.
 */

import { InvalidIdError } from "../errors.ts";

const USER = /^[a-z0-9._-]{1,64}$/;
const GROUP = /^~[a-z2-7]{24}$/;
const DEVICE = /^[a-z0-9]{1,32}$/;

/** A stamp is Unix milliseconds, shifted left by this, plus a counter. */
export const STAMP_SHIFT = 20n;
/** Highest id of a message. */
export const MAX_ID = Number.MAX_SAFE_INTEGER;
/** Ids in one `about`, and so in one READ. */
export const MAX_ABOUT_IDS = 256;
/** Kinds from here on, up to `MAX_KIND`, are for clients to give. */
export const FIRST_OWN_KIND = 1000;
export const MAX_KIND = 2 ** 31 - 1;
/** Of an EDIT. */
export const MAX_REVISION = 2 ** 20;

/** Returns `user`. Throws `InvalidIdError`. */
export function checkUserId(user: string): string {
  if (typeof user !== "string" || !USER.test(user)) {
    throw new InvalidIdError(`user id ${quoted(user)}: use 1 to 64 of a-z, 0-9, dot, underscore and hyphen`);
  }
  return user;
}

/** Whether it is a group's id: no user's can be one, and it needs no escaping in a URL. */
export function isGroupId(name: string): boolean {
  return GROUP.test(name);
}

/** Returns `dest`, the id of a user or of a group. Throws `InvalidIdError`. */
export function checkDestId(dest: string): string {
  if (typeof dest === "string" && dest.startsWith("~")) {
    return checkGroupId(dest);
  }
  return checkUserId(dest);
}

/** Returns `group`. Throws `InvalidIdError`. */
export function checkGroupId(group: string): string {
  if (!isGroupId(group)) {
    throw new InvalidIdError(`group id ${quoted(group)}: use the id that the user API gave`);
  }
  return group;
}

/** Whether the user API could have minted it. */
export function isDeviceId(device: string): boolean {
  return DEVICE.test(device);
}

/** Returns `device`. Throws `InvalidIdError`. */
export function checkDeviceId(device: string): string {
  if (typeof device !== "string" || !isDeviceId(device)) {
    throw new InvalidIdError(`device id ${quoted(device)}: use the id that the user API gave at login`);
  }
  return device;
}

/** Unix milliseconds of a stamp. */
export function stampMs(stamp: bigint): number {
  return Number(stamp >> STAMP_SHIFT);
}

function quoted(value: unknown): string {
  return JSON.stringify(String(value).slice(0, 80));
}
