/** What browsers have beside `sparrow-client`: state in IndexedDB, which tab is the device, and timers of a worker. */

export { IndexedDbBackend, persist } from "./journal/indexeddb.ts";
export { Leader, type LeaderOptions } from "./journal/leader.ts";
export { workerTimers, type WorkerTimers } from "./timers.ts";
