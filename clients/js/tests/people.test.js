// Who types, who has read: said now and then, told as it is.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, EPOCH, lostAndBack, OTHER_EPOCH, typing } from "./fake.js";

/** Ann in the lobby; ten messages were said before she came. */
async function inTheLobby(more = {}) {
  const it = await connected();
  const lobby = it.throng.join("lobby", { presence: true });
  it.socket.seat(10, { read: 4, unread: 6, presence: "announced", members: [], count: 0, version: 1, ...more });
  return { it, lobby };
}

const read = (...reads) => ({ type: "read", room: "lobby", reads: reads.map(([user, offset]) => ({ user, offset })) });

test("typing is said with the first key, now and then while it lasts, and when it stops", async () => {
  const { it, lobby } = await inTheLobby();
  lobby.typing(false);
  for (let key = 0; key < 30; key += 1) {
    lobby.typing();
    await it.clock.advance(100);
  }
  const said = () => it.socket.of("typing").map(({ on }) => on);
  assert.deepEqual(said(), [true, true]);
  await it.clock.advance(5_000);
  lobby.typing(false);
  lobby.typing(false);
  assert.deepEqual(said(), [true, true, false]);
  assert.equal(it.socket.of("typing")[0].id, undefined);
});

test("what is said ends our typing, and the next key begins anew", async () => {
  const { it, lobby } = await inTheLobby();
  lobby.typing();
  lobby.publish("hello").catch(() => {});
  lobby.typing(false);
  lobby.typing();
  assert.deepEqual(
    it.socket.of("typing").map(({ on }) => on),
    [true, true],
  );
});

test("what is said by the connection ends our typing, too", async () => {
  const { it, lobby } = await inTheLobby();
  lobby.typing();
  it.throng.publish("lobby", "hello").catch(() => {});
  lobby.typing();
  assert.deepEqual(
    it.socket.of("typing").map(({ on }) => on),
    [true, true],
  );
});

test("fewer who are named of as many who type is a change", async () => {
  const { it, lobby } = await inTheLobby();
  const told = [];
  lobby.on("typing", ({ users, count }) => told.push(`${users.map(({ user }) => user)}/${count}`));
  it.socket.say({ ...typing("bob", "cid"), count: 12 });
  it.socket.say({ ...typing("bob"), count: 12 });
  assert.deepEqual(told, ["bob,cid/12", "bob/12"]);
});

test("others who type are told of, ourselves are not, and nobody types for ever", async () => {
  const { it, lobby } = await inTheLobby();
  const told = [];
  lobby.on("typing", ({ users, count }) => told.push(`${users.map(({ user }) => user)}/${count}`));
  it.socket.say(typing("ann"));
  it.socket.say(typing("ann", "bob"));
  it.socket.say({ ...typing("bob", "cid"), count: 12 });
  it.socket.say(typing());
  it.socket.say(typing("bob"));
  await it.clock.advance(9_000);
  it.socket.say(typing("bob"));
  await it.clock.advance(9_000);
  assert.equal(lobby.typists.count, 1, "it was told again");
  await it.clock.advance(1_000);
  assert.deepEqual(told, ["bob/1", "bob,cid/12", "/0", "bob/1", "/0"]);
});

test("a connection that is lost takes the typing of others along", async () => {
  const { it, lobby } = await inTheLobby();
  it.socket.say(typing("bob"));
  await lostAndBack(it);
  assert.deepEqual(lobby.typists, { users: [], count: 0 });
  lobby.typing();
  assert.equal(it.socket.of("typing").length, 0, "not seated yet");
});

test("what is read is told once in a while, only what is new, and never less", async () => {
  const { it, lobby } = await inTheLobby();
  assert.deepEqual([lobby.readTo, lobby.unread], [4, 6]);
  it.socket.message(11);
  lobby.read(7);
  lobby.read();
  lobby.read(2);
  assert.equal(it.socket.of("read").length, 0);
  await it.clock.advance(300);
  assert.deepEqual(
    it.socket.of("read").map(({ offset }) => offset),
    [11],
  );
  lobby.read(9);
  await it.clock.advance(300);
  assert.equal(it.socket.of("read").length, 1);
  assert.deepEqual([lobby.readTo, lobby.unread], [11, 0]);
});

test("who has read a message is known from the join on, and never unlearned", async () => {
  const { it, lobby } = await inTheLobby({ reads: [{ user: "bob", offset: 9 }] });
  const told = [];
  lobby.on("read", ({ reads }) => told.push(...reads.map(({ user, offset }) => `${user} ${offset}`)));
  assert.deepEqual(lobby.readBy(9), ["bob"]);
  it.socket.say(read(["bob", 8], ["cid", 10]));
  assert.deepEqual([lobby.readBy(9).sort(), lobby.readBy(10)], [["bob", "cid"], ["cid"]]);
  // Our other window has read it.
  it.socket.say(read(["ann", 10]));
  assert.deepEqual([lobby.unread, told], [0, ["cid 10", "ann 10"]]);
});

test("what was read while the connection was gone is told when it is back", async () => {
  const { it, lobby } = await inTheLobby();
  it.socket.message(11);
  it.socket.end(1006);
  lobby.read();
  await it.clock.advance(5_000);
  it.socket.welcome();
  it.socket.seat(11, { recovered: true, read: 4, unread: 7 });
  await it.clock.advance(300);
  assert.deepEqual(
    it.socket.of("read").map(({ offset }) => offset),
    [11],
  );
});

test("what was read of a room that began anew has not been read of the new one", async () => {
  const { it, lobby } = await inTheLobby();
  it.socket.message(11);
  lobby.read();
  await it.clock.advance(300);
  const socket = await lostAndBack(it);
  socket.seat(20, { epoch: OTHER_EPOCH, recovered: false, read: 0, unread: 20 });
  // Before the gap says so, a position of the old life is no word about the new one.
  lobby.read();
  await it.clock.advance(300);
  assert.deepEqual([socket.of("read"), lobby.readTo, lobby.unread], [[], 0, 20]);
  socket.say({ type: "gap", room: "lobby", epoch: OTHER_EPOCH, from: 1, to: 19, why: "epoch" });
  socket.message(20);
  lobby.read();
  await it.clock.advance(300);
  assert.deepEqual(
    socket.of("read").map(({ offset }) => offset),
    [20],
  );
});

test("a room that begins anew while we sit in it has nothing that was read", async () => {
  const { it, lobby } = await inTheLobby({ reads: [{ user: "bob", offset: 9 }] });
  lobby.read(10);
  it.socket.say({ type: "gap", room: "lobby", epoch: OTHER_EPOCH, from: 1, to: 2, why: "epoch" });
  await it.clock.advance(300);
  assert.deepEqual([it.socket.of("read"), lobby.readTo, lobby.unread, lobby.readBy(1)], [[], 0, 2, []]);
  it.socket.message(3);
  assert.equal(lobby.unread, 3);
});

test("how much is unread is known while there is no connection, too", async () => {
  const { it, lobby } = await inTheLobby();
  it.socket.end(1006);
  assert.deepEqual([lobby.readTo, lobby.unread], [4, 6]);
  assert.equal(lobby.position.epoch, EPOCH);
});

test("of more readers than are remembered those who have read furthest are, and ourselves", async () => {
  const { it, lobby } = await inTheLobby();
  for (let n = 0; n < 110; n += 1)
    it.socket.say(read(...Array.from({ length: 100 }, (_, m) => [`u${n}-${m}`, 100 + n])));
  assert.ok(lobby.reads.length <= 10_000, `${lobby.reads.length}`);
  assert.equal(lobby.readBy(209).length, 100);
  assert.equal(lobby.readTo, 4);
});

test("a room that keeps no reads is not told of any", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  it.socket.seat(10);
  lobby.read(10);
  await it.clock.advance(1_000);
  assert.equal(it.socket.of("read").length, 0);
});

test("who does not watch asks how far it has read when something was left out", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  it.socket.seat(10, { read: 4, unread: 6 });
  it.socket.say({ type: "stale", room: "lobby" });
  it.socket.reply("unread", { room: "lobby", offset: 10, read: 8, unread: 2 });
  assert.deepEqual([lobby.readTo, lobby.unread], [8, 2]);
});

test("how much there is to read in a room one does not sit in is asked for", async () => {
  const it = await connected();
  const asked = it.throng.unread("other");
  it.socket.reply("unread", { room: "other", offset: 10, read: 8, unread: 2 });
  assert.equal((await asked).unread, 2);
});
