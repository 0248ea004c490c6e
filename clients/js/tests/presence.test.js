// Who is here: the list is kept true.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, EPOCH, lostAndBack, settle } from "./fake.js";

const roll = (version, ...users) => ({
  members: users.map((user) => ({ user, connections: 1 })),
  count: users.length,
  version,
});
const change = (type, version, count, ...users) => ({
  type,
  room: "lobby",
  users: users.map((user) => ({ user })),
  count,
  version,
});

async function watching() {
  const it = await connected();
  const lobby = it.throng.join("lobby", { presence: true });
  const lists = [];
  lobby.on("members", ({ members, count }) => lists.push(`${members.map(({ user }) => user)}/${count}`));
  it.socket.seat(1, roll(5, "bob", "ann"));
  return { it, lobby, lists };
}

test("the list comes with the join, sorted, and follows who comes and goes", async () => {
  const { it, lobby, lists } = await watching();
  it.socket.say(change("joined", 6, 3, "cid"));
  it.socket.say(change("left", 7, 2, "ann"));
  assert.deepEqual(lists, ["ann,bob/2", "ann,bob,cid/3", "bob,cid/2"]);
  assert.deepEqual(
    lobby.members.members.map(({ user }) => user),
    ["bob", "cid"],
  );
  assert.deepEqual([it.told("joined").length, it.told("left")[0].users[0].user], [1, "ann"]);
});

test("those who came and those who left in one moment share a version, and both count", async () => {
  const { it, lists } = await watching();
  it.socket.say(change("joined", 6, 2, "cid"));
  it.socket.say(change("left", 6, 2, "ann"));
  assert.deepEqual(lists.at(-1), "bob,cid/2");
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 0);
});

test("what the list already says, and what is older, is no news", async () => {
  const { it, lists } = await watching();
  it.socket.say(change("joined", 5, 2, "ann"));
  it.socket.say(change("joined", 6, 3, "cid", "ann"));
  it.socket.say(change("left", 5, 2, "cid"));
  assert.deepEqual(lists, ["ann,bob/2", "ann,bob,cid/3"]);
  assert.deepEqual(
    it.told("joined").map(({ users }) => users.map(({ user }) => user)),
    [["cid"]],
  );
});

test("who missed a change asks anew, and hears what changed meanwhile", async () => {
  const { it, lists } = await watching();
  it.socket.say(change("joined", 8, 4, "dan"));
  await it.clock.advance(0);
  assert.equal(it.socket.of("presence").length, 1);
  it.socket.say(change("left", 9, 3, "bob"));
  it.socket.reply("presence", { room: "lobby", ...roll(9, "ann", "cid", "dan") });
  it.socket.say(change("left", 9, 3, "bob"));
  it.socket.say(change("joined", 10, 4, "eve"));
  assert.equal(lists.at(-1), "ann,cid,dan,eve/4");
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 1);
});

test("a tunnel is away and back, and no left and joined", async () => {
  const { it, lobby, lists } = await watching();
  const told = [];
  for (const type of ["joined", "left", "away", "back"])
    lobby.on(type, ({ users }) => told.push(`${type} ${users.map(({ user }) => user)}`));
  it.socket.say(change("away", 6, 2, "bob"));
  assert.equal(lobby.members.members.find(({ user }) => user === "bob").connections, 0);
  it.socket.say(change("back", 7, 2, "bob"));
  assert.notEqual(lobby.members.members.find(({ user }) => user === "bob").connections, 0);
  it.socket.say(change("away", 8, 2, "bob"));
  it.socket.say(change("left", 9, 1, "bob"));
  assert.deepEqual(told, ["away bob", "back bob", "away bob", "left bob"]);
  assert.equal(lists.at(-1), "ann/1");
});

test("a crowd is told as a number, and who keeps a whole list asks for the new one", async () => {
  const { it, lists } = await watching();
  it.socket.say({ type: "counted", room: "lobby", count: 120, version: 6 });
  assert.equal(lists.at(-1), "ann,bob/120");
  await it.clock.advance(2_000);
  assert.equal(it.socket.of("presence").length, 1);
  const some = Array.from({ length: 100 }, (_, n) => `u${n}`);
  it.socket.reply("presence", { room: "lobby", ...roll(6, ...some), count: 120 });
  it.socket.say({ type: "counted", room: "lobby", count: 19_000, version: 7 });
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 1, "that list would be cut short");
});

test("a room that only counts tells how many, and nobody asks who they are", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby", { presence: true });
  const counts = [];
  lobby.on("members", ({ members, count }) => counts.push([members.length, count]));
  it.socket.seat(1, { presence: "counted", count: 7, version: 3 });
  it.socket.say({ type: "counted", room: "lobby", count: 9, version: 4 });
  await it.clock.advance(20_000);
  assert.deepEqual(counts, [
    [0, 7],
    [0, 9],
  ]);
  assert.equal(it.socket.of("presence").length, 0);
});

test("who was too slow is told that its list is stale, and asks once", async () => {
  const { it, lists } = await watching();
  it.socket.say({ type: "stale", room: "lobby" });
  it.socket.say({ type: "stale", room: "lobby" });
  await it.clock.advance(10);
  assert.equal(it.socket.of("presence").length, 1);
  it.socket.reply("presence", { room: "lobby", ...roll(9, "eve") });
  assert.equal(lists.at(-1), "eve/1");
});

test("a list that does not fit its count is asked for again, once at a time", async () => {
  const { it, lists } = await watching();
  it.socket.say(change("joined", 6, 4, "cid"));
  it.socket.say(change("joined", 7, 5, "dan"));
  assert.equal(it.socket.of("presence").length, 0);
  await it.clock.advance(1_500);
  assert.equal(it.socket.of("presence").length, 1);
  it.socket.reply("presence", { room: "lobby", ...roll(10, "ann", "bob", "cid", "dan", "eve") });
  assert.equal(lists.at(-1), "ann,bob,cid,dan,eve/5");
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 1);
});

test("a list that was cut short is not asked for again and again", async () => {
  const it = await connected();
  it.throng.join("lobby", { presence: true });
  it.socket.seat(1, { ...roll(5, "ann", "bob"), count: 1_002 });
  it.socket.say(change("joined", 6, 1_003, "cid"));
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 0);
});

test("a list that was cut short and names more than are here is asked for again", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby", { presence: true });
  it.socket.seat(1, { ...roll(5, "ann", "bob"), count: 4 });
  it.socket.say(change("joined", 6, 5, "cid"));
  it.socket.say(change("joined", 7, 6, "dan"));
  it.socket.say(change("joined", 8, 7, "eve"));
  // Most of them went in one moment, and nobody says who.
  it.socket.say({ type: "counted", room: "lobby", count: 3, version: 9 });
  await it.clock.advance(2_000);
  assert.equal(it.socket.of("presence").length, 1);
  it.socket.reply("presence", { room: "lobby", ...roll(9, "ann", "eve"), count: 3 });
  assert.equal(lobby.members.members.length, 2);
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("presence").length, 1);
});

test("beside a gap the list is asked for, patiently, and a refusal is told", async () => {
  const { it, lobby } = await watching();
  const errors = [];
  lobby.on("error", ({ code }) => errors.push(code));
  const gap = { type: "gap", room: "lobby", epoch: EPOCH, from: 2, to: 9, why: "slow" };
  it.socket.say(gap);
  await it.clock.advance(0);
  it.socket.refuse("presence", "busy", { retry_after_ms: 100 });
  await it.clock.advance(150);
  assert.equal(it.socket.of("presence").length, 2);
  it.socket.refuse("presence", "forbidden");
  assert.deepEqual(errors, ["forbidden"]);
});

test("a new connection begins with a new list, even of a server that counts from the start", async () => {
  const { it, lists } = await watching();
  const socket = await lostAndBack(it);
  socket.seat(1, { recovered: true, ...roll(1, "ann") });
  socket.say(change("joined", 2, 2, "bob"));
  assert.deepEqual(lists.slice(1), ["ann/1", "ann,bob/2"]);
  await settle();
});
