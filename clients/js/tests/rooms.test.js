// Rooms over losses of the connection: nothing twice, nothing missing in silence.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, EPOCH, lostAndBack, OTHER_EPOCH, outcome, settle, world } from "./fake.js";

/** Offsets handed out, by the room and by the connection alike. */
function listen(it, room) {
  const heard = [];
  room.on("message", ({ offset }) => heard.push(offset));
  room.on("gap", ({ from, to, why }) => heard.push(`${from}-${to} ${why}`));
  return heard;
}

async function seated(options, offset = 41, join = {}) {
  const it = await connected(options);
  const lobby = it.throng.join("lobby", join);
  it.socket.seat(offset);
  return { it, lobby, heard: listen(it, lobby) };
}

test("join before the connection stands, and listen before anything can come", async () => {
  const it = world();
  const lobby = it.throng.join("lobby", { history: 20, presence: true });
  const joins = [];
  lobby.on("join", (detail) => joins.push(detail));
  const ready = outcome(lobby.ready);
  assert.equal(it.throng.join("lobby"), lobby);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  const [join] = it.socket.of("join");
  assert.deepEqual([join.room, join.history, join.presence, join.since], ["lobby", 20, true, undefined]);
  assert.equal(lobby.seated, false);
  it.socket.seat(41, { members: [], count: 0, version: 1 });
  await settle();
  assert.deepEqual([lobby.seated, ready.value.offset, joins[0].again], [true, 41, false]);
});

test("messages are handed out with their position, in the room and on the connection", async () => {
  const { it, lobby } = await seated();
  const heard = [];
  lobby.on("message", (message) => heard.push(message));
  it.socket.message(42, "lobby", { event: "chat.said", data: { text: "hello" } });
  it.socket.message(1, "elsewhere");
  assert.equal(heard.length, 1);
  const [message] = heard;
  assert.deepEqual(
    [message.offset, message.epoch, message.from.user, message.event, message.data.text],
    [42, EPOCH, "bob", "chat.said", "hello"],
  );
  assert.deepEqual(it.told("message"), heard);
  assert.deepEqual(lobby.position, { epoch: EPOCH, offset: 42 });
});

test("after a loss the join goes on from the position, and what is known is dropped", async () => {
  const { it, lobby, heard } = await seated();
  it.socket.message(42);
  it.socket.message(43);
  const again = [];
  lobby.on("join", (detail) => again.push(detail.again));
  const socket = await lostAndBack(it);
  const [join] = socket.of("join");
  assert.deepEqual([join.since, join.history], [{ epoch: EPOCH, offset: 43 }, undefined]);
  socket.seat(45, { recovered: true });
  for (const offset of [42, 43, 44, 45, 45, 46]) socket.message(offset);
  assert.deepEqual(heard, [42, 43, 44, 45, 46]);
  assert.deepEqual(again, [true]);
});

test("what was lost of the history is asked for again", async () => {
  const { it, heard } = await seated({}, 100, { history: 50 });
  it.socket.message(51);
  it.socket.message(52);
  let socket = await lostAndBack(it);
  assert.deepEqual(socket.of("join")[0].since, { epoch: EPOCH, offset: 52 });
  socket.seat(101, { recovered: true });
  for (let offset = 53; offset <= 101; offset += 1) socket.message(offset);
  assert.equal(heard.length, 51);
  // Lost before any of it came: from where it would have begun.
  const { it: other } = await seated({}, 30, { history: 50 });
  socket = await lostAndBack(other);
  assert.deepEqual(socket.of("join")[0].since, { epoch: EPOCH, offset: 0 });
});

test("a gap is told, and what comes behind it is not known", async () => {
  const { it, lobby, heard } = await seated();
  const socket = await lostAndBack(it);
  socket.seat(200, { recovered: false });
  socket.say({ type: "gap", room: "lobby", epoch: EPOCH, from: 42, to: 150, why: "retention" });
  socket.message(151);
  assert.deepEqual(heard, ["42-150 retention", 151]);
  assert.equal(it.told("gap").length, 1);
  // All of it known: nobody is troubled.
  socket.say({ type: "gap", room: "lobby", epoch: EPOCH, from: 100, to: 151, why: "slow" });
  socket.say({ type: "gap", room: "lobby", epoch: EPOCH, from: 152, to: 151, why: "slow" });
  assert.deepEqual(heard, ["42-150 retention", 151, "152-151 slow"]);
  assert.deepEqual(lobby.position, { epoch: EPOCH, offset: 151 });
});

test("a room that began anew: the gap says so, and its low offsets are news", async () => {
  const { it, lobby, heard } = await seated();
  let socket = await lostAndBack(it);
  socket.seat(2, { epoch: OTHER_EPOCH, recovered: false });
  // Lost before the gap was told: it is owed still.
  assert.deepEqual(lobby.position, { epoch: EPOCH, offset: 41 });
  socket = await lostAndBack(it);
  assert.deepEqual(socket.of("join")[0].since, { epoch: EPOCH, offset: 41 });
  socket.seat(2, { epoch: OTHER_EPOCH, recovered: false });
  socket.say({ type: "gap", room: "lobby", epoch: OTHER_EPOCH, from: 1, to: 0, why: "epoch" });
  socket.message(1);
  socket.message(2);
  assert.deepEqual(heard, ["1-0 epoch", 1, 2]);
  assert.deepEqual(lobby.position, { epoch: OTHER_EPOCH, offset: 2 });
});

test("a room that begins anew while we sit in it", async () => {
  const { it, lobby, heard } = await seated();
  it.socket.say({ type: "gap", room: "lobby", epoch: OTHER_EPOCH, from: 1, to: 3, why: "epoch" });
  it.socket.message(4);
  assert.deepEqual([heard, lobby.position], [["1-3 epoch", 4], { epoch: OTHER_EPOCH, offset: 4 }]);
});

test("a position that the room has never reached is not kept, even of the same epoch", async () => {
  const { it, lobby, heard } = await seated();
  const socket = await lostAndBack(it);
  socket.seat(3, { recovered: false });
  socket.say({ type: "gap", room: "lobby", epoch: EPOCH, from: 1, to: 1, why: "epoch" });
  for (const offset of [2, 3, 4]) socket.message(offset);
  assert.deepEqual([heard, lobby.position.offset], [["1-1 epoch", 2, 3, 4], 4]);
});

test("of a room that began anew nothing is taken for known, even if nobody says so", async () => {
  const { it, heard } = await seated();
  const socket = await lostAndBack(it);
  socket.seat(2, { epoch: OTHER_EPOCH, recovered: false });
  socket.message(1);
  assert.deepEqual(heard, [1]);
});

test("own messages of which the receipt was had do not come again", async () => {
  const { it, lobby, heard } = await seated();
  const said = [1, 2, 3].map((n) => lobby.publish(n));
  const [one, two, three] = it.socket.of("publish");
  const ack = ({ id }, offset) =>
    it.socket.say({ type: "reply", id, room: "lobby", epoch: EPOCH, offset, level: "memory" });
  ack(one, 42);
  assert.equal(lobby.position.offset, 42);
  // 43 is somebody else's and still on its way.
  ack(two, 44);
  ack(three, 45);
  await Promise.all(said);
  assert.equal(lobby.position.offset, 42);
  const socket = await lostAndBack(it);
  assert.equal(socket.of("join")[0].since.offset, 42);
  socket.seat(46, { recovered: true });
  for (const offset of [43, 44, 45, 46]) socket.message(offset);
  assert.deepEqual(heard, [43, 46]);
  assert.equal(lobby.position.offset, 46);
});

test("what others said moves the position over own messages before it", async () => {
  const { it, lobby, heard } = await seated();
  lobby.publish("x");
  const { id } = it.socket.of("publish")[0];
  it.socket.say({ type: "reply", id, room: "lobby", epoch: EPOCH, offset: 43, level: "memory" });
  assert.equal(lobby.position.offset, 41);
  it.socket.message(42);
  assert.deepEqual([heard, lobby.position.offset], [[42], 43]);
});

test("an echo that was asked for comes, whichever is first", async () => {
  const { it, lobby, heard } = await seated();
  const said = lobby.publish("x", { echo: true });
  const { id } = it.socket.of("publish")[0];
  it.socket.say({ type: "reply", id, room: "lobby", epoch: EPOCH, offset: 42, level: "memory" });
  it.socket.message(42);
  assert.equal((await said).offset, 42);
  assert.deepEqual(heard, [42]);
});

test("own messages from before the join are part of its history", async () => {
  const it = await connected();
  it.throng.publish("lobby", "early");
  it.socket.reply("publish", { room: "lobby", epoch: EPOCH, offset: 1, level: "memory" });
  const lobby = it.throng.join("lobby", { history: 10 });
  const heard = listen(it, lobby);
  it.socket.seat(1);
  it.socket.message(1);
  assert.deepEqual(heard, [1]);

  // Answered in between, it is still from before.
  it.throng.publish("hall", "early");
  const hall = it.throng.join("hall", { history: 10 });
  const also = listen(it, hall);
  it.socket.reply("publish", { room: "hall", epoch: EPOCH, offset: 2, level: "memory" });
  it.socket.seat(2);
  it.socket.message(1, "hall");
  it.socket.message(2, "hall");
  assert.deepEqual(also, [1, 2]);
});

test("a position that was kept is where a new client begins", async () => {
  const it = await connected();
  const since = { epoch: EPOCH, offset: 30 };
  const lobby = it.throng.join("lobby", { since, history: 5 });
  const heard = listen(it, lobby);
  const again = [];
  lobby.on("join", (detail) => again.push(detail.again));
  assert.deepEqual([it.socket.of("join")[0].since, it.socket.of("join")[0].history], [since, undefined]);
  it.socket.seat(30, { recovered: true });
  lobby.publish("x");
  it.socket.reply("publish", { room: "lobby", epoch: EPOCH, offset: 31, level: "memory" });
  it.socket.message(32);
  assert.deepEqual([heard, since.offset, lobby.position.offset], [[32], 30, 32]);
  assert.deepEqual(again, [false], "no connection was lost");
});

test("a refused join is told and asked again with the next connection only", async () => {
  const it = await connected();
  const lobby = it.throng.join("secret");
  const errors = [];
  lobby.on("error", ({ code }) => errors.push(code));
  const ready = outcome(lobby.ready);
  it.socket.refuse("join", "forbidden");
  await it.clock.advance(20_000);
  assert.deepEqual([errors, ready.error.code, it.socket.of("join").length], [["forbidden"], "forbidden", 1]);
  const socket = await lostAndBack(it);
  assert.equal(socket.of("join").length, 1);
  socket.seat(1);
  assert.equal(lobby.seated, true);
});

test("a seat that the server takes away is told, and asked for again with the next connection", async () => {
  const { it, lobby, heard } = await seated();
  const removed = [];
  lobby.on("removed", ({ why }) => removed.push(why));
  it.socket.message(42);
  it.socket.say({ type: "removed", room: "lobby", why: "grants" });
  it.socket.message(43);
  await it.clock.advance(20_000);
  assert.deepEqual([removed, it.told("removed").length, lobby.seated, heard], [["grants"], 1, false, [42]]);
  assert.equal(it.socket.of("join").length, 1);
  // Nothing is left to leave.
  await lobby.leave();
  assert.equal(it.socket.of("leave").length, 0);
  const other = await seated();
  other.it.socket.say({ type: "removed", room: "lobby", why: "grants" });
  const socket = await lostAndBack(other.it);
  assert.deepEqual(socket.of("join")[0].since, { epoch: EPOCH, offset: 41 });
});

test("what was refused or taken away is asked for again by join, and when a new token was taken", async () => {
  const { it, lobby } = await seated();
  const hall = it.throng.join("hall");
  const refused = outcome(hall.ready);
  it.socket.refuse("join", "forbidden");
  it.socket.say({ type: "removed", room: "lobby", why: "grants" });
  await settle();
  assert.equal(refused.error.code, "forbidden");
  assert.equal(it.throng.join("lobby"), lobby);
  assert.deepEqual(it.socket.of("join").at(-1).since, { epoch: EPOCH, offset: 41 });
  it.throng.join("lobby");
  assert.equal(it.socket.of("join").length, 3, "asked once at a time");
  it.socket.refuse("join", "forbidden");

  it.socket.say({ type: "expiring", in_ms: 60_000 });
  await settle();
  it.socket.reply("refresh", { expires_in_ms: 3_600_000 });
  await settle();
  assert.deepEqual(
    it.socket.of("join").slice(3).map(({ room }) => room),
    ["lobby", "hall"],
  );
  it.socket.seat(7);
  assert.deepEqual([hall.seated, (await hall.ready).offset], [true, 7]);
  // What the new token itself takes away is not asked for at once.
  it.socket.say({ type: "expiring", in_ms: 60_000 });
  await settle();
  it.socket.say({ type: "removed", room: "hall", why: "grants" });
  it.socket.reply("refresh", { expires_in_ms: 3_600_000 });
  await settle();
  assert.equal(it.socket.of("join").length, 5);
});

test("the backend speaks to everybody and to us without a join", async () => {
  const it = await connected();
  it.socket.message(1, "@all", { from: { user: "backend" } });
  it.socket.message(7, "@ann");
  // Of others' rooms, and of one that was left, nothing is told.
  it.socket.message(3, "@bob");
  it.socket.message(4, "lobby");
  assert.deepEqual(
    it.told("message").map(({ room, offset, epoch }) => [room, offset, epoch]),
    [
      ["@all", 1, undefined],
      ["@ann", 7, undefined],
    ],
  );
});

test("who joins the room of the backend's words hears each once", async () => {
  const it = await connected();
  const all = it.throng.join("@all", { history: 5 });
  const heard = listen(it, all);
  // Said before the seat: the history brings it.
  it.socket.message(4, "@all");
  it.socket.seat(4);
  it.socket.message(4, "@all");
  it.socket.message(5, "@all");
  assert.deepEqual(heard, [4, 5]);
  const own = it.throng.join("@ann");
  const toMe = listen(it, own);
  it.socket.message(1, "@ann");
  it.socket.seat(1);
  it.socket.message(2, "@ann");
  assert.deepEqual(toMe, [1, 2], "without history nothing else would bring the first");
  // The seat is taken away: spoken to all the same.
  it.socket.say({ type: "removed", room: "@ann", why: "grants" });
  it.socket.message(3, "@ann");
  assert.deepEqual(toMe, [1, 2, 3]);
  const socket = await lostAndBack(it);
  const { id, since } = socket.of("join").find(({ room }) => room === "@ann");
  assert.equal(since.offset, 2);
  socket.say({ type: "reply", id, room: "@ann", epoch: EPOCH, offset: 4, recovered: true });
  // The third was heard, the fourth was not spoken to us.
  for (const offset of [3, 4]) socket.message(offset, "@ann");
  assert.deepEqual(toMe, [1, 2, 3, 4]);
});

test("a broadcast that waited for its turn comes before the seat, and is heard", async () => {
  const it = await connected();
  const all = it.throng.join("@all");
  const heard = listen(it, all);
  // Its place lies before the one that the answer names; what is said next comes by the seat.
  it.socket.message(7, "@all", { from: { user: "backend" } });
  it.socket.seat(7);
  it.socket.message(8, "@all", { from: { user: "backend" } });
  assert.deepEqual([heard, all.position], [[7, 8], { epoch: EPOCH, offset: 8 }]);
});

test("a busy join is asked again after the time the server gave", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  it.socket.refuse("join", "busy", { retry_after_ms: 100 });
  await it.clock.advance(149);
  assert.equal(it.socket.of("join").length, 1);
  await it.clock.advance(1);
  assert.equal(it.socket.of("join").length, 2);
  it.socket.seat(1);
  assert.equal(lobby.seated, true);
});

test("rooms that were asked for too often are asked for one after the other", async () => {
  const it = await connected();
  const refused = (room) => {
    it.throng.join(room);
    it.socket.refuse("join", "too_often", { retry_after_ms: 1_000 });
  };
  for (const room of ["a", "b", "c"]) refused(room);
  const asked = () => it.socket.of("join").slice(3).map(({ room }) => room);
  await it.clock.advance(1_500);
  assert.deepEqual(asked(), ["a"]);
  it.throng.leave("b").catch(() => {});
  await it.clock.advance(2_999);
  assert.deepEqual(asked(), ["a"]);
  await it.clock.advance(1);
  assert.deepEqual(asked(), ["a", "c"]);
  // Nobody stands there any more.
  refused("d");
  await it.clock.advance(1_500);
  assert.deepEqual(it.socket.of("join").at(-1).room, "d");
});

test("a join that is answered late counts: the seat was taken", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  const [heard, errors] = [listen(it, lobby), []];
  lobby.on("error", ({ code }) => errors.push(code));
  await it.clock.advance(8_000);
  it.socket.seat(41);
  it.socket.message(42);
  assert.deepEqual([errors, heard, it.socket.of("join").length], [["timeout"], [42], 1]);
});

test("leave leaves for good; what is still on its way is not heard", async () => {
  const { it, lobby, heard } = await seated();
  const left = outcome(it.throng.leave("lobby"));
  it.socket.message(42);
  it.socket.reply("leave", { room: "lobby" });
  await settle();
  assert.ok("value" in left);
  assert.deepEqual([heard, lobby.seated], [[], false]);
  const socket = await lostAndBack(it);
  assert.deepEqual(socket.of("join"), []);
  // Nobody there, nothing to do.
  await it.throng.leave("lobby");
});

test("leave without a connection, or before the join was answered", async () => {
  const { it, lobby } = await seated();
  it.socket.end(1006);
  await lobby.leave();
  await it.clock.advance(5_000);
  it.socket.welcome();
  assert.deepEqual(it.socket.of("join"), []);

  const hall = it.throng.join("hall");
  const ready = outcome(hall.ready);
  const left = outcome(hall.leave());
  it.socket.refuse("leave", "not_joined");
  it.socket.refuse("join", "not_joined");
  await settle();
  assert.ok("value" in left);
  assert.equal(ready.error.code, "left");
});

test("left and joined again at once: the new seat hears only its own", async () => {
  const { it, heard } = await seated();
  it.throng.leave("lobby").catch(() => {});
  const again = it.throng.join("lobby", { history: 1 });
  const anew = listen(it, again);
  it.socket.message(42);
  it.socket.reply("leave", { room: "lobby" });
  it.socket.seat(42);
  it.socket.message(42);
  assert.deepEqual([heard, anew], [[], [42]]);
});

test("rooms do not disturb each other", async () => {
  const { it, heard } = await seated();
  const hall = it.throng.join("hall");
  it.socket.seat(7);
  const other = listen(it, hall);
  it.socket.message(8, "hall");
  it.socket.message(42, "lobby");
  assert.deepEqual([heard, other], [[42], [8]]);
  const socket = await lostAndBack(it);
  assert.deepEqual(
    socket.of("join").map(({ room, since }) => [room, since.offset]),
    [
      ["lobby", 42],
      ["hall", 8],
    ],
  );
});

test("messages without offsets are handed out as they come, and history is asked for by page", async () => {
  const it = await connected();
  const room = it.throng.join("ticker:ibm");
  const heard = [];
  room.on("message", ({ key, data }) => heard.push([key, data]));
  it.socket.reply("join", { room: "ticker:ibm", epoch: EPOCH, offset: 7 });
  await settle();
  for (const data of [1, 2]) {
    it.socket.say({ type: "message", room: "ticker:ibm", at: 1, from: { user: "bob" }, key: "ibm", data });
  }
  assert.deepEqual(heard, [["ibm", 1], ["ibm", 2]]);
  const page = room.history({ before: 5, limit: 2 });
  const [asked] = it.socket.of("history");
  assert.deepEqual([asked.room, asked.before, asked.limit], ["ticker:ibm", 5, 2]);
  it.socket.reply("history", { room: "ticker:ibm", epoch: EPOCH, offset: 7, messages: [] });
  assert.deepEqual((await page).messages, []);
});
