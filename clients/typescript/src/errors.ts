/**
 * Every error of this package, one tree, with the names of the server's and the Python client's.
 *
 * Owns the classes that cross a module's border. May not import anything of ours.
 *
 * Three branches: `MisuseError` (you called or configured it wrongly), `PeerError` (the other end broke
 * docs/protocol.md, or is not who it should be) and `ServiceError` (nobody's fault; try again later).
 */

/** Base of all errors; its text says what to do. */
export class SparrowError extends Error {
  override name = "SparrowError";
}

/** You misused the package: a wrong argument, a wrong order of calls, a wrong configuration. */
export class MisuseError extends SparrowError {
  override name = "MisuseError";
}

/** A setting is missing, unknown or out of range; the text names it and the cure. */
export class ConfigError extends MisuseError {
  override name = "ConfigError";
}

/** A user, group or device id is none. */
export class InvalidIdError extends MisuseError {
  override name = "InvalidIdError";
}

/** The other end broke the protocol; the connection cannot go on. */
export class PeerError extends SparrowError {
  override name = "PeerError";
}

/** Bytes are not a varint length-delimited `Frame`. */
export class FrameError extends PeerError {
  override name = "FrameError";
}

/** A frame's length is beyond the limit. */
export class FrameTooLargeError extends FrameError {
  override name = "FrameTooLargeError";
}

/** A well-formed frame that is not allowed now. */
export class SequenceError extends PeerError {
  override name = "SequenceError";
}

/** Something that should be there is not, for now. */
export class ServiceError extends SparrowError {
  override name = "ServiceError";
}

/** The service cannot do this now; the same call may succeed later. */
export class UnavailableError extends ServiceError {
  override name = "UnavailableError";
}

/** Nothing answers at the address. */
export class UnreachableError extends UnavailableError {
  override name = "UnreachableError";
}

/** The name is taken. */
export class AlreadyExistsError extends MisuseError {
  override name = "AlreadyExistsError";
}

/** There is no such account, device, file, message, group, or request to be a friend. */
export class NotFoundError extends MisuseError {
  override name = "NotFoundError";
}

/** One's role in a group, or a group's limit, does not allow it. */
export class NotAllowedHereError extends MisuseError {
  override name = "NotAllowedHereError";
}

/** The service keeps no conversations: there is what this device has kept itself. */
export class HistoryNotKeptError extends MisuseError {
  override name = "HistoryNotKeptError";
}

/** The service knows no groups: it is an older one. */
export class GroupsNotOfferedError extends MisuseError {
  override name = "GroupsNotOfferedError";
}

/** The service does not search in conversations. */
export class SearchNotOfferedError extends MisuseError {
  override name = "SearchNotOfferedError";
}

/** The body of a FILE message is not what docs/protocol.md ("Files") says. */
export class FileReferenceError extends PeerError {
  override name = "FileReferenceError";
}

/** The client is closed, or was closed before the message came to anything. */
export class ClosedError extends MisuseError {
  override name = "ClosedError";
}

/** There is no such account, or the password is wrong. */
export class WrongPasswordError extends MisuseError {
  override name = "WrongPasswordError";
}

/** The service makes accounts by invitation: register with the code of one. */
export class InvitationNeededError extends MisuseError {
  override name = "InvitationNeededError";
}

/** The code of an invitation, or for a new password, is wrong, was used or has ended. */
export class WrongCodeError extends MisuseError {
  override name = "WrongCodeError";
}

/** An OpenID provider does not vouch for whoever wants in, or they may not come: begin again, or ask who runs it. */
export class OidcError extends MisuseError {
  override name = "OidcError";
}

/** The server has ended the session for good; reconnecting would not help. */
export class SessionEndedError extends MisuseError {
  override name = "SessionEndedError";
}

/** The login token is not valid (any more), and there is no password to get a new one with. */
export class TokenRejectedError extends SessionEndedError {
  override name = "TokenRejectedError";
}

/** The same device has logged in elsewhere. */
export class ReplacedError extends SessionEndedError {
  override name = "ReplacedError";
}

/** The account is disabled for now; device and state are kept, for when it is enabled again. */
export class AccountDisabledError extends SessionEndedError {
  override name = "AccountDisabledError";
}

/** The device has been removed; its state is of no more use. */
export class DeviceRemovedError extends SessionEndedError {
  override name = "DeviceRemovedError";
}

/** The user has as many devices as allowed: log in in the place of one. */
export class TooManyDevicesError extends MisuseError {
  override name = "TooManyDevicesError";
  /** As the user API lists them. */
  readonly devices: readonly Readonly<Record<string, unknown>>[];

  constructor(text: string, devices: readonly Readonly<Record<string, unknown>>[] = []) {
    super(text);
    this.devices = devices;
  }
}

/** A message was refused for good; a repeat would be refused as well. */
export class RefusedError extends MisuseError {
  override name = "RefusedError";
}

/** The addressee does not exist. */
export class NoSuchUserError extends RefusedError {
  override name = "NoSuchUserError";
}

/** The message is larger than the server takes. */
export class MessageTooLargeError extends RefusedError {
  override name = "MessageTooLargeError";
}

/** The addressee has blocked the author. */
export class BlockedError extends RefusedError {
  override name = "BlockedError";
}

/** The addressee takes messages from friends only. */
export class NotFriendError extends RefusedError {
  override name = "NotFriendError";
}

/** We are no member of the group, or there is none (any more). */
export class NotMemberError extends RefusedError {
  override name = "NotMemberError";
}

/** Why a journal cannot go on. */
export type StateTrouble =
  /** The browser keeps nothing here: a private window, or storage that is switched off. */
  | "unavailable"
  /** What was kept is gone: the browser has evicted it, or a person has cleared it. */
  | "evicted"
  /** There is no room left. */
  | "full"
  /** Another tab or process is this device now. */
  | "taken_over"
  /** It cannot be written, for another reason. */
  | "failed";

/** A client's state cannot be written; what was not kept has not happened. */
export class StateError extends ServiceError {
  override name = "StateError";
  /** Which of the troubles it is. */
  readonly trouble: StateTrouble;

  constructor(text: string, trouble: StateTrouble = "failed", options?: ErrorOptions) {
    super(text, options);
    this.trouble = trouble;
  }
}

/** A file is not what its SHA-256 says. */
export class ChecksumError extends PeerError {
  override name = "ChecksumError";
}

/** The file is larger than the user API takes. */
export class FileTooLargeError extends MisuseError {
  override name = "FileTooLargeError";
}

/** The user API answered with something that is no answer of a user API. */
export class ApiError extends PeerError {
  override name = "ApiError";
}

/** A server's certificate is expired, for another name, or of a CA that is not trusted. */
export class UntrustedError extends PeerError {
  override name = "UntrustedError";
}
