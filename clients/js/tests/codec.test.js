// MessagePack by any codec that is given; here one of our own, so that nothing needs to be installed.
import assert from "node:assert/strict";
import { test } from "node:test";

import { msgpack } from "../throng.js";
import { outcome, settle, WELCOME, world } from "./fake.js";

const [toBytes, toText] = [new TextEncoder(), new TextDecoder()];
/** As good as MessagePack for what the client must do: bytes of a value. */
const bytes = {
  encode: (value) => toBytes.encode(JSON.stringify(value)),
  decode: (data) => JSON.parse(toText.decode(data)),
};

test("with another codec the other subprotocol is offered and bytes cross the wire, both ways", async () => {
  const it = world({ codec: msgpack(bytes) });
  const frames = [];
  it.throng.on("frame", (frame) => frames.push(frame));
  it.throng.connect();
  await settle();
  assert.deepEqual(it.socket.protocols, ["throng.v1.msgpack", "throng.token.jwt"]);
  assert.equal(it.socket.binaryType, "arraybuffer");
  it.socket.open();
  it.socket.onmessage({ data: bytes.encode(WELCOME).buffer });
  assert.equal(it.throng.state, "open");
  const said = outcome(it.throng.publish("lobby", { a: 1 }));
  const sent = it.socket.sent[0];
  assert.ok(sent instanceof Uint8Array);
  const command = bytes.decode(sent);
  // What was not given is no field: MessagePack would write it as nil.
  assert.deepEqual(Object.keys(command), ["type", "id", "room", "data"]);
  it.socket.onmessage({
    data: bytes.encode({ type: "reply", id: command.id, room: "lobby", epoch: "00", offset: 1, level: "memory" })
      .buffer,
  });
  await settle();
  assert.equal(said.value.offset, 1);
  assert.deepEqual(
    frames.map(({ direction, data }) => [direction, data instanceof Uint8Array]),
    [
      ["in", true],
      ["out", true],
      ["in", true],
    ],
  );
});

test("the other kind of message is what cannot be read", async () => {
  const binary = world({ codec: msgpack(bytes) });
  binary.throng.connect();
  await settle();
  binary.socket.welcome();
  assert.match(binary.told("connect_error")[0].reason, /text where MessagePack was agreed/);

  const text = world();
  text.throng.connect();
  await settle();
  text.socket.open();
  text.socket.onmessage({ data: bytes.encode(WELCOME).buffer });
  assert.match(text.told("connect_error")[0].reason, /binary where JSON was agreed/);
});

test("the bound on a command counts bytes of the codec", async () => {
  const it = world({ codec: msgpack(bytes) });
  it.throng.connect();
  await settle();
  it.socket.open();
  it.socket.onmessage({ data: bytes.encode({ ...WELCOME, limits: { ...WELCOME.limits, message_bytes: 64 } }).buffer });
  const big = outcome(it.throng.publish("lobby", "x".repeat(64)));
  await settle();
  assert.equal(big.error.code, "too_big");
});
