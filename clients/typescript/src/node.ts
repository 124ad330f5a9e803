/** What Node has beside `sparrow-client`: state in a file, and connections over TCP and TLS. */

export { FileBackend } from "./journal/file.ts";
export { tcp, type TcpOptions } from "./transport/tcp.ts";
