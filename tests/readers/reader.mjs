// Reads delimited frames with protobufjs, by the .proto that is its argument. See __init__.py.
import { readFileSync, writeFileSync } from "node:fs";
import Long from "long";
import protobuf from "protobufjs";

protobuf.util.Long = Long;
protobuf.configure();
const { root } = protobuf.parse(readFileSync(process.argv[2], "utf8"), { keepCase: true });
const Frame = root.lookupType("sparrow.v1.Frame");
const reader = protobuf.Reader.create(readFileSync(0));
const lines = [];
try {
  while (reader.pos < reader.len) {
    const { message } = Frame.toObject(Frame.decodeDelimited(reader), { longs: String, defaults: true, bytes: Array });
    const about = message.about ?? { stream: "0", ids: [], from_device: "" };
    const body = Buffer.from(message.body).toString("hex");
    lines.push(
      [
        message.stream,
        message.id,
        message.settled,
        `${message.from_id}/${message.from_device}`,
        message.dest_id,
        message.kind,
        message.stamp,
        body,
        about.stream,
        about.ids.length,
        about.from_device,
        ...about.ids,
      ].join(" "),
    );
  }
} catch (error) {
  lines.push(`error: ${error.message}`);
}
writeFileSync(1, lines.map((line) => `${line}\n`).join(""));
