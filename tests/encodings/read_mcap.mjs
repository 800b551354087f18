// Reads an MCAP file with the libraries of Foxglove's viewer, and prints each message as a line of JSON.
// node read_mcap.mjs FILE.mcap, beside a node_modules with the packages of test_viewers.py

import { open } from "node:fs/promises";
import { FileHandleReadable } from "@mcap/nodejs";
import { McapIndexedReader } from "@mcap/core";
import { loadDecompressHandlers } from "@mcap/support";
import { parse } from "@foxglove/rosmsg";
import { MessageReader } from "@foxglove/rosmsg2-serialization";

function plain(key, value) {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && !Number.isFinite(value)) return String(value).toLowerCase();
  if (ArrayBuffer.isView(value)) return Array.from(value);
  return value;
}

const file = await open(process.argv[2], "r");
const reader = await McapIndexedReader.Initialize({
  readable: new FileHandleReadable(file),
  decompressHandlers: await loadDecompressHandlers(),
});
const text = new TextDecoder();
const readers = new Map();
for (const channel of reader.channelsById.values()) {
  const schema = reader.schemasById.get(channel.schemaId);
  if (channel.messageEncoding === "cdr") {
    const definitions = parse(text.decode(schema.data), { ros2: true });
    const decoder = new MessageReader(definitions, { timeType: "sec,nanosec" });
    readers.set(channel.id, (data) => decoder.readMessage(data));
  } else {
    readers.set(channel.id, (data) => JSON.parse(text.decode(data)));
  }
}
for await (const message of reader.readMessages()) {
  const channel = reader.channelsById.get(message.channelId);
  const value = readers.get(message.channelId)(message.data);
  console.log(JSON.stringify({ topic: channel.topic, sequence: message.sequence, value }, plain));
}
