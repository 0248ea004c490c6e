// The session over losses of the connection: one command for all rooms, and joins where that is refused.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, EPOCH, lostAndBack, outcome, settle, world } from "./fake.js";

/** A client that sits in these rooms at 41, and asked for another that was not answered. */
async function seated(options) {
  const it = await connected(options);
  const rooms = ["lobby", "hall"].map((name) => {
    const room = it.throng.join(name, name === "hall" ? { presence: true } : {});
    it.socket.seat(41);
    return room;
  });
  it.throng.join("new", { history: 5 });
  return { it, rooms };
}

test("one command takes all seats again, with the session that was lost", async () => {
  const { it, rooms } = await seated();
  const socket = await lostAndBack(it);
  const position = { epoch: EPOCH, offset: 41 };
  const [resume, join] = socket.sent;
  assert.deepEqual([resume.type, resume.session, socket.sent.length], ["resume", "0a0b0c", 2]);
  assert.deepEqual(
    resume.rooms.map(({ id, ...entry }) => entry),
    [
      { room: "lobby", ...position },
      { room: "hall", ...position, presence: true },
    ],
  );
  const ids = [resume.id, ...resume.rooms.map(({ id }) => id), join.id];
  assert.equal(new Set(ids).size, 4);
  assert.deepEqual([join.type, join.room, join.history], ["join", "new", 5]);

  socket.reply("resume", { resumed: true });
  assert.deepEqual(it.told("resume"), [{ resumed: true }]);
  for (const { id, room } of resume.rooms) socket.say({ type: "reply", id, room, ...position, recovered: true });
  assert.deepEqual(
    rooms.map(({ seated }) => seated),
    [true, true],
  );
  socket.message(42);
  assert.deepEqual(
    it.told("message").map(({ offset }) => offset),
    [42],
  );
});

test("each connection goes on with the session of the one before it", async () => {
  const { it } = await seated();
  it.socket.end(1006);
  await it.clock.advance(5_000);
  it.socket.welcome({ session: "second" });
  assert.equal(it.socket.of("resume")[0].session, "0a0b0c");
  it.socket.end(1006);
  await it.clock.advance(5_000);
  it.socket.welcome({ session: "third" });
  assert.equal(it.socket.of("resume")[0].session, "second");
});

test("a resume that is refused as a whole becomes joins with positions", async () => {
  for (const code of ["busy", "unsupported"]) {
    const { it } = await seated();
    const socket = await lostAndBack(it);
    const late = socket.of("resume")[0].rooms[0].id;
    socket.refuse("resume", code);
    const joins = socket.sent.filter(({ type }) => type === "join");
    assert.deepEqual(
      joins.map(({ room, since }) => [room, since?.offset]),
      [
        ["new", undefined],
        ["lobby", 41],
        ["hall", 41],
      ],
    );
    // What would have answered the room means nothing any more.
    socket.say({ type: "reply", id: late, room: "lobby", epoch: EPOCH, offset: 50, recovered: true });
    assert.equal(it.throng.join("lobby").seated, false);
    assert.deepEqual(it.told("resume"), []);
  }
});

test("a room that is refused is told, and one that is refused for now is asked for again", async () => {
  const { it, rooms } = await seated();
  const errors = [];
  rooms[0].on("error", ({ code }) => errors.push(code));
  const socket = await lostAndBack(it);
  const [lobby, hall] = socket.of("resume")[0].rooms;
  socket.reply("resume", { resumed: false });
  socket.say({ type: "error", id: lobby.id, code: "forbidden", message: "no" });
  socket.say({ type: "error", id: hall.id, code: "busy", message: "not now", retry_after_ms: 100 });
  await it.clock.advance(200);
  assert.deepEqual(errors, ["forbidden"]);
  assert.deepEqual(it.told("resume"), [{ resumed: false }]);
  assert.deepEqual(
    socket.sent.filter(({ type }) => type === "join").map(({ room }) => room),
    ["new", "hall"],
  );
});

test("a connection that is lost while it resumes is followed by another that does", async () => {
  const { it, rooms } = await seated();
  await lostAndBack(it);
  const socket = await lostAndBack(it);
  assert.deepEqual(
    socket.of("resume")[0].rooms.map(({ room, offset }) => [room, offset]),
    [
      ["lobby", 41],
      ["hall", 41],
    ],
  );
  assert.deepEqual(
    rooms.map(({ seated }) => seated),
    [false, false],
  );
});

test("more rooms than one connection may have are asked for one by one", async () => {
  const { it } = await seated();
  it.socket.end(1006);
  await it.clock.advance(5_000);
  it.socket.welcome({ limits: { message_bytes: 1_000_000, rooms: 1, depth: 32 } });
  assert.deepEqual(
    it.socket.of("resume")[0].rooms.map(({ room }) => room),
    ["lobby"],
  );
  assert.deepEqual(
    it.socket.sent.filter(({ type }) => type === "join").map(({ room }) => room),
    ["hall", "new"],
  );
});

test("what is over is not gone on with: closed here, or taken over by another tab", async () => {
  for (const over of [(it) => it.throng.close(), (it) => it.socket.end(4502)]) {
    const { it } = await seated();
    over(it);
    assert.equal(it.throng.state, "closed");
    it.throng.connect();
    await settle();
    it.socket.welcome();
    assert.deepEqual(it.socket.of("resume"), []);
    assert.deepEqual(
      it.socket.of("join").map(({ room }) => room),
      ["lobby", "hall", "new"],
    );
  }
});

test("one that is taken for dead is closed so that its session lives on", async () => {
  const it = await connected();
  const { socket } = it;
  await it.clock.advance(60_000);
  assert.equal(socket.closedWith.code, 4900);
});

test("a store of one's own keeps the session over a reload", async () => {
  let kept = "of the page before";
  const session = {
    take() {
      const taken = kept;
      kept = null;
      return taken;
    },
    put: (handle) => (kept = handle),
  };
  const it = world({ session });
  it.throng.connect();
  await settle();
  it.socket.welcome();
  const [resume] = it.socket.of("resume");
  assert.deepEqual([resume.session, resume.rooms, kept], ["of the page before", [], null]);
  it.throng.close();
});

test("a page that was kept aside and is shown again keeps its session to itself, and asks whether the server is there", async () => {
  const { addEventListener, removeEventListener } = globalThis;
  const listeners = new Map();
  globalThis.addEventListener = (type, run) => listeners.set(type, run);
  globalThis.removeEventListener = (type) => listeners.delete(type);
  const kept = [];
  const session = { take: () => kept.pop() ?? null, put: (handle) => kept.push(handle) };
  const it = await connected({ session });
  listeners.get("pageshow")({ persisted: false });
  listeners.get("pagehide")({ persisted: true });
  assert.deepEqual([kept, it.socket.of("ping").length], [["0a0b0c"], 0]);
  listeners.get("pageshow")({ persisted: true });
  assert.deepEqual([kept, it.socket.of("ping").length], [[], 1]);
  it.throng.close();
  assert.equal(listeners.size, 0, "nobody listens any more");
  Object.assign(globalThis, { addEventListener, removeEventListener });
});

test("a direct message is sent to a user, and its receipt counts in one's own inbox", async () => {
  const it = await connected();
  const inbox = it.throng.join("@ann", { history: 0 });
  it.socket.seat(4);
  const sent = outcome(it.throng.send("ann", { text: "to myself" }, { event: "note" }));
  const { id, ...envelope } = it.socket.of("send")[0];
  assert.deepEqual(envelope, { type: "send", user: "ann", event: "note", data: { text: "to myself" } });
  it.socket.reply("send", { room: "@ann", epoch: EPOCH, offset: 5, level: "memory" });
  await settle();
  assert.equal(sent.value.offset, 5);
  assert.equal(inbox.position.offset, 5);
});
