// What the backend says to everybody (`@all`) or to us (our inbox), which comes with a seat and without one: each once,
// wherever the seat begins.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, EPOCH, lostAndBack, OTHER_EPOCH, settle } from "./fake.js";

/** Somebody who asks for a seat in this room; what the room and the connection were told, by offset. */
async function asking(room, options) {
  const it = await connected();
  const seat = it.throng.join(room, options);
  const [heard, all] = [[], []];
  seat.on("message", ({ offset }) => heard.push(offset));
  seat.on("gap", ({ from, to }) => heard.push(`${from}-${to}`));
  it.throng.on("message", ({ offset }) => all.push(offset));
  /** Offsets differ in time as well, as they do where there is a clock. */
  const say = (offset, more = {}) => it.socket.message(offset, room, { at: 1_700_000_000_000 + offset, ...more });
  return { it, seat, heard, all, say };
}

test("a broadcast from before the history that was asked for is heard, whatever it had to wait for", async () => {
  const { it, seat, heard, all, say } = await asking("@all", { history: 2 });
  // Told when its turn came, before the answer; the history begins behind the first two.
  for (const offset of [3, 4, 6]) say(offset);
  it.socket.seat(6);
  assert.deepEqual(heard, [3, 4]);
  for (const offset of [5, 6, 7]) say(offset);
  assert.deepEqual([heard, all], [[3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]);
  assert.equal(seat.position.offset, 7);
  await it.clock.advance(20_000);
  assert.deepEqual(heard, [3, 4, 5, 6, 7]);
});

test("where the server gives less history than was asked for, what lies before that is heard at its place", async () => {
  const { it, heard, say } = await asking("@all", { history: 1_000 });
  for (const offset of [3, 5]) say(offset);
  it.socket.seat(6);
  assert.deepEqual(heard, [], "the history may bring them");
  for (const offset of [5, 6, 7]) say(offset);
  assert.deepEqual(heard, [3, 5, 6, 7]);
});

test("what the log has forgotten by the time of the seat is heard after a while, and once", async () => {
  const { it, heard, say } = await asking("@all", { history: 5 });
  say(6);
  it.socket.seat(6);
  await it.clock.advance(4_999);
  assert.deepEqual(heard, []);
  await it.clock.advance(1);
  assert.deepEqual(heard, [6]);
  // It had not: the history was slow.
  for (const offset of [5, 6, 7]) say(offset);
  assert.deepEqual(heard, [6, 5, 7]);
});

test("what is told as a gap was heard all the same if it was spoken to us", async () => {
  const { it, seat, heard, say } = await asking("@all", { since: { epoch: EPOCH, offset: 2 } });
  for (const offset of [5, 9]) say(offset);
  it.socket.seat(9, { recovered: false });
  it.socket.say({ type: "gap", room: "@all", epoch: EPOCH, from: 3, to: 7, why: "retention" });
  for (const offset of [8, 9]) say(offset);
  assert.deepEqual([heard, seat.position.offset], [[5, "3-7", 8, 9], 9]);

  const other = await asking("@all", { since: { epoch: EPOCH, offset: 40 } });
  other.say(1);
  other.it.socket.seat(3, { epoch: OTHER_EPOCH, recovered: false });
  other.it.socket.say({ type: "gap", room: "@all", epoch: OTHER_EPOCH, from: 1, to: 1, why: "epoch" });
  for (const offset of [2, 3]) other.say(offset);
  assert.deepEqual(other.heard, [1, "1-1", 2, 3]);
});

test("what a position brings again is heard at its place", async () => {
  const { it, heard, say } = await asking("@all", { since: { epoch: EPOCH, offset: 2 } });
  say(5);
  it.socket.seat(5, { recovered: true });
  for (const offset of [3, 4, 5, 6]) say(offset);
  assert.deepEqual(heard, [3, 4, 5, 6]);
  await it.clock.advance(20_000);
  assert.deepEqual(heard, [3, 4, 5, 6]);
});

test("who is refused has heard what was spoken meanwhile", async () => {
  const { it, heard, all, say } = await asking("@all", { history: 5 });
  say(6);
  it.socket.refuse("join", "forbidden");
  say(7);
  assert.deepEqual([heard, all], [[6, 7], [6, 7]]);
});

test("a connection that is lost before the answer takes nothing along, and nothing comes twice", async () => {
  const { it, heard, say } = await asking("@all", { history: 5 });
  say(6);
  const socket = await lostAndBack(it);
  assert.deepEqual(heard, [6]);
  assert.equal(socket.of("join")[0].history, 5);
  socket.seat(7);
  for (const offset of [5, 6, 7]) say(offset);
  assert.deepEqual(heard, [6, 5, 7]);

  const kept = await asking("@all", { since: { epoch: EPOCH, offset: 5 } });
  kept.say(6);
  (await lostAndBack(kept.it)).seat(7, { recovered: true });
  for (const offset of [6, 7]) kept.say(offset);
  assert.deepEqual(kept.heard, [6, 7]);
});

test("who leaves before the answer hears by the connection what was spoken meanwhile", async () => {
  const { it, seat, heard, all, say } = await asking("@all", { history: 5 });
  say(6);
  seat.leave().catch(() => {});
  say(7);
  assert.deepEqual([heard, all], [[], [6, 7]]);
  await settle();
  assert.equal(it.throng.state, "open");
});

test("more than is kept while the answer is awaited loses its place, and nothing else", async () => {
  const { it, heard, say } = await asking("@all", { history: 200 });
  const offsets = Array.from({ length: 150 }, (_, n) => n + 1);
  for (const offset of offsets) say(offset);
  assert.deepEqual(heard, offsets.slice(0, 50));
  it.socket.seat(150);
  for (const offset of offsets) say(offset);
  assert.deepEqual(heard, offsets);
});

test("the own inbox gives its newest page to who says nothing about it, and all of it is heard", async () => {
  const { it, seat, heard, say } = await asking("@ann", {});
  assert.equal(it.socket.of("join")[0].history, undefined);
  it.socket.seat(8);
  for (const offset of [6, 7, 8]) say(offset);
  assert.deepEqual(heard, [6, 7, 8]);
  assert.equal(seat.position.offset, 8);

  // Lost amid the page: the rest of it comes.
  const lost = await asking("@ann", {});
  lost.it.socket.seat(8);
  lost.say(6);
  const socket = await lostAndBack(lost.it);
  assert.equal(socket.of("join")[0].since.offset, 6);
  socket.seat(8, { recovered: true });
  for (const offset of [7, 8]) lost.say(offset);
  assert.deepEqual(lost.heard, [6, 7, 8]);

  // Whoever wants none of it says so, and of other rooms nothing comes unasked.
  const none = await asking("@ann", { history: 0 });
  none.it.socket.seat(8);
  assert.equal(none.seat.position.offset, 8);
  const other = await asking("lobby", {});
  other.it.socket.seat(8);
  assert.equal(other.seat.position.offset, 8);
});

test("letters that come while the inbox is asked for stand behind those of its page", async () => {
  const { it, heard, say } = await asking("@ann", {});
  say(8);
  it.socket.seat(8);
  for (const offset of [6, 7, 8, 9]) say(offset);
  assert.deepEqual(heard, [6, 7, 8, 9]);
});
