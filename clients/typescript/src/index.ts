/** What browsers and Node have in common. More is in `sparrow-client/node` and `sparrow-client/browser`. */

export type { Conversation, Conversations, HistoryLine, Page } from "./api/conversations.ts";
export { type File, type Files, referenceTo, type TransferOptions, type UploadOptions } from "./api/files.ts";
export type {
  Group,
  GroupChange,
  Groups,
  GroupSettings,
  Invitation,
  Link,
  LinkedGroup,
  Member,
  MyGroup,
  Role,
} from "./api/groups.ts";
export {
  beginOidc,
  type LoginWays,
  type OidcAnswer,
  type OidcBegun,
  type OidcTicket,
  parseOidcAnswer,
  redeemOidc,
  waysToLogIn,
} from "./api/oidc.ts";
export type { Account, Contact, Device, Friend, OwnProfile, People, Profile, ProfileChange } from "./api/people.ts";
export { Client } from "./client.ts";
export { type Target, targetName } from "./core/changes.ts";
export * from "./errors.ts";
export type { ClientEvents, Names } from "./events.ts";
export { Hint_Kind as HintKind, Signal_Kind as SignalKind } from "./gen/sparrow_pb.js";
export { type Backend, type Entry, type Fields, MemoryBackend, type Store } from "./journal/backend.ts";
export { FILE, Message, Sending, type SendingState, TEXT } from "./messages.ts";
export type { ClientOptions, Timing } from "./options.ts";
export { type FileReference, parseFileReference } from "./protocol/files.ts";
export { Typists } from "./signals.ts";
export { isGroupId, stampMs } from "./protocol/ids.ts";
export type { Timers } from "./timers.ts";
export type { Address, Connector, Listener, Scheme, Transport } from "./transport/transport.ts";
export { websocket } from "./transport/websocket.ts";
