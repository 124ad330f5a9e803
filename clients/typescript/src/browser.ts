/** What browsers have beside `sparrow-client`: state in IndexedDB, and which tab is the device. */

export { IndexedDbBackend, persist } from "./journal/indexeddb.ts";
export { Leader, type LeaderOptions } from "./journal/leader.ts";
