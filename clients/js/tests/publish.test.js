// What becomes of a publish: acked, refused, late, lost, waiting.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ThrongError } from "../throng.js";
import { connected, EPOCH, lostAndBack, outcome, settle, world } from "./fake.js";

const receipt = (offset) => ({ room: "lobby", epoch: EPOCH, offset, level: "memory" });
const said = (socket) => socket.of("publish").map(({ data }) => data);

test("a publish resolves with its position; each answer finds its own", async () => {
  const it = await connected();
  const [first, second] = [
    it.throng.publish("lobby", { n: 1 }, { event: "chat.said", echo: true }),
    it.throng.publish("hall", 2),
  ];
  const [one, two] = it.socket.of("publish");
  assert.deepEqual([one.room, one.event, one.echo, one.data], ["lobby", "chat.said", true, { n: 1 }]);
  assert.deepEqual(Object.keys(two), ["type", "id", "room", "data"]);
  assert.notEqual(one.id, two.id);
  it.socket.say({ type: "reply", id: two.id, ...receipt(7) });
  it.socket.say({ type: "reply", id: one.id, ...receipt(3) });
  assert.deepEqual([(await first).offset, (await second).offset], [3, 7]);
});

test("a refusal is an error with code and time to wait; the connection lives", async () => {
  const it = await connected();
  const busy = outcome(it.throng.publish("lobby", 1));
  it.socket.refuse("publish", "busy", { retry_after_ms: 100 });
  const forbidden = outcome(it.throng.publish("secret", 1));
  it.socket.refuse("publish", "forbidden");
  await settle();
  assert.ok(busy.error instanceof ThrongError && busy.error instanceof Error);
  assert.deepEqual([busy.error.code, busy.error.retryAfterMs, busy.error.indeterminate], ["busy", 100, false]);
  assert.deepEqual([forbidden.error.code, forbidden.error.retryAfterMs], ["forbidden", undefined]);
  assert.equal(forbidden.error.message, "it is forbidden");
  assert.equal(it.throng.state, "open");
  assert.equal(it.told("error").length, 0);
});

test("no answer within 5 s is a timeout, and a late answer changes nothing", async () => {
  const it = await connected();
  const late = outcome(it.throng.publish("lobby", 1));
  await it.clock.advance(4_999);
  assert.deepEqual(late, {});
  await it.clock.advance(1);
  assert.deepEqual([late.error.code, late.error.indeterminate], ["timeout", true]);
  it.socket.reply("publish", receipt(1));
  await settle();
  assert.equal(it.throng.state, "open");
  const own = await connected({ requestTimeoutMs: 100 });
  const sooner = outcome(own.throng.publish("lobby", 1));
  await own.clock.advance(100);
  assert.equal(sooner.error.code, "timeout");
});

test("what was sent and not answered when the connection fell is told, and never sent twice", async () => {
  const it = await connected();
  const lost = outcome(it.throng.publish("lobby", 1));
  const socket = await lostAndBack(it);
  assert.deepEqual([lost.error.code, lost.error.indeterminate], ["disconnected", true]);
  assert.deepEqual(said(socket), []);
});

test("without a connection publishes wait and go in order, before those that come later", async () => {
  const it = world();
  const all = [1, 2, 3].map((n) => outcome(it.throng.publish("lobby", n)));
  assert.equal(it.throng.queued, 3);
  // Their time begins when they are sent.
  await it.clock.advance(3_600_000);
  assert.deepEqual(all, [{}, {}, {}]);
  it.throng.on("connect", () => it.throng.publish("lobby", 4).catch(() => {}));
  it.throng.connect();
  await settle();
  it.socket.welcome();
  assert.deepEqual(said(it.socket), [1, 2, 3, 4]);
  assert.equal(it.throng.queued, 0);
  for (const { id } of it.socket.of("publish")) it.socket.say({ type: "reply", id, ...receipt(id) });
  await settle();
  assert.deepEqual(
    all.map(({ value }) => value?.level),
    ["memory", "memory", "memory"],
  );
});

test("nothing overtakes the queue, not even what is said while the connection comes up", async () => {
  const it = world();
  it.throng.publish("lobby", "first").catch(() => {});
  it.throng.join("lobby");
  it.throng.on("frame", ({ data }) => data.includes(`"join"`) && it.throng.publish("lobby", "second").catch(() => {}));
  it.throng.connect();
  await settle();
  it.socket.welcome();
  assert.deepEqual(said(it.socket), ["first", "second"]);
});

test("what waits is what was said, whatever becomes of the object", async () => {
  const it = world();
  const draft = { text: "first" };
  it.throng.publish("lobby", draft).catch(() => {});
  draft.text = "changed";
  it.throng.connect();
  await settle();
  it.socket.welcome();
  assert.deepEqual(said(it.socket), [{ text: "first" }]);
});

test("a full queue rejects the newest, or drops the oldest, as it was asked to", async () => {
  const newest = world({ queue: { max: 2 } });
  const kept = [1, 2, 3].map((n) => outcome(newest.throng.publish("lobby", n)));
  await settle();
  assert.deepEqual(
    kept.map(({ error }) => error?.code),
    [undefined, undefined, "queue_full"],
  );
  assert.equal(kept[2].error.indeterminate, false);

  const oldest = world({ queue: { max: 2, full: "drop_oldest" } });
  const others = [1, 2, 3].map((n) => outcome(oldest.throng.publish("lobby", n)));
  await settle();
  assert.deepEqual(
    others.map(({ error }) => error?.code),
    ["queue_full", undefined, undefined],
  );
  oldest.throng.connect();
  await settle();
  oldest.socket.welcome();
  assert.deepEqual(said(oldest.socket), [2, 3]);

  const none = world({ queue: { max: 0 } });
  const refused = outcome(none.throng.publish("lobby", 1));
  await settle();
  assert.equal(refused.error.code, "not_connected");
});

test("the default bound is 100", async () => {
  const it = world();
  const all = Array.from({ length: 101 }, (_, n) => outcome(it.throng.publish("lobby", n)));
  await settle();
  assert.deepEqual([it.throng.queued, all[99].error, all[100].error.code], [100, undefined, "queue_full"]);
});

test("a final end rejects what waits", async () => {
  const it = world();
  const waiting = outcome(it.throng.publish("lobby", 1));
  it.throng.connect();
  await settle();
  it.socket.end(4503, "the token's signature does not fit");
  await settle();
  assert.deepEqual([waiting.error.code, waiting.error.indeterminate], ["closed", false]);
  assert.match(waiting.error.message, /signature/);
});

test("what waited is patient with busy and keeps its place; what was sent at once is told", async () => {
  const it = world();
  const all = [1, 2, 3].map((n) => outcome(it.throng.publish("lobby", n)));
  it.throng.connect();
  await settle();
  it.socket.welcome();
  const [one, two, three] = it.socket.of("publish");
  const busy = { type: "error", code: "busy", message: "not now", retry_after_ms: 100 };
  it.socket.say({ ...busy, id: three.id });
  it.socket.say({ ...busy, id: two.id });
  it.socket.say({ type: "reply", id: one.id, ...receipt(1) });
  // While it pauses nobody overtakes.
  const later = outcome(it.throng.publish("lobby", 4));
  assert.deepEqual(said(it.socket), [1, 2, 3]);
  await it.clock.advance(149);
  assert.deepEqual(said(it.socket), [1, 2, 3]);
  await it.clock.advance(1);
  assert.deepEqual(said(it.socket), [1, 2, 3, 2, 3, 4]);
  for (const { id } of it.socket.of("publish").slice(3)) it.socket.say({ type: "reply", id, ...receipt(id) });
  await settle();
  assert.ok([...all, later].every(({ value }) => value));
});

test("what waited and came too often is sent one by one: who sends it all again is closed for flooding", async () => {
  const it = world();
  const all = [1, 2, 3, 4].map((n) => outcome(it.throng.publish("lobby", n)));
  it.throng.connect();
  await settle();
  it.socket.welcome();
  const [first, ...others] = it.socket.of("publish");
  it.socket.say({ type: "reply", id: first.id, ...receipt(1) });
  for (const { id } of others)
    it.socket.say({ type: "error", id, code: "too_often", message: "wait", retry_after_ms: 1_000 });
  await it.clock.advance(1_499);
  assert.deepEqual(said(it.socket), [1, 2, 3, 4]);
  await it.clock.advance(1);
  assert.deepEqual(said(it.socket).slice(4), [2]);
  it.socket.reply("publish", receipt(2));
  await it.clock.advance(1_500);
  assert.deepEqual(said(it.socket).slice(4), [2, 3]);
  // One that was too early all the same keeps its place.
  it.socket.refuse("publish", "too_often", { retry_after_ms: 2_000 });
  await it.clock.advance(1_500);
  assert.deepEqual(said(it.socket).slice(4), [2, 3, 3]);
  it.socket.reply("publish", receipt(3));
  await it.clock.advance(3_000);
  it.socket.reply("publish", receipt(4));
  await settle();
  assert.deepEqual([said(it.socket).slice(4), all.every(({ value }) => value)], [[2, 3, 3, 4], true]);
  // That is over with the queue.
  await it.clock.advance(3_000);
  for (const n of [5, 6]) it.throng.publish("lobby", n).catch(() => {});
  assert.deepEqual(said(it.socket).slice(8), [5, 6]);
});

test("a pause ends with the connection that asked for it", async () => {
  const it = world();
  it.throng.publish("lobby", 1).catch(() => {});
  it.throng.connect();
  await settle();
  it.socket.welcome();
  it.socket.refuse("publish", "busy", { retry_after_ms: 600_000 });
  assert.deepEqual(said(await lostAndBack(it)), [1]);
});

test("publishes under way are bounded; more wait for answers", async () => {
  const it = await connected({ inFlightMax: 2, queue: { max: 1 } });
  const all = [1, 2, 3, 4].map((n) => outcome(it.throng.publish("lobby", n)));
  await settle();
  assert.deepEqual(said(it.socket), [1, 2]);
  assert.equal(all[3].error.code, "queue_full");
  it.socket.say({ type: "reply", id: it.socket.of("publish")[0].id, ...receipt(1) });
  assert.deepEqual(said(it.socket), [1, 2, 3]);
  // A lost connection forgets what was under way.
  const socket = await lostAndBack(it);
  const more = [5, 6].map((n) => outcome(it.throng.publish("lobby", n)));
  assert.deepEqual(said(socket), [5, 6]);
  assert.deepEqual(more, [{}, {}]);
});

test("what is too big for the server is not sent: it would close the connection", async () => {
  const it = world();
  it.throng.connect();
  await settle();
  it.socket.welcome({ limits: { message_bytes: 100, rooms: 1, depth: 32 } });
  const big = outcome(it.throng.publish("lobby", "ü".repeat(40)));
  const fits = outcome(it.throng.publish("lobby", "ü".repeat(10)));
  await settle();
  assert.deepEqual([big.error.code, it.socket.of("publish").length], ["too_big", 1]);
  assert.deepEqual(fits, {});
  assert.equal(it.throng.state, "open");
});

test("what cannot be written as JSON is told to who said it", async () => {
  const it = await connected();
  const ring = {};
  ring.ring = ring;
  const wrong = outcome(it.throng.publish("lobby", ring));
  await settle();
  assert.equal(wrong.error.code, "unencodable");
  assert.deepEqual(it.socket.sent, []);
});

test("a command needs a connection and does not wait", async () => {
  const it = await connected();
  const roll = outcome(it.throng.presence("lobby"));
  it.socket.reply("presence", { room: "lobby", members: [{ user: "ann", connections: 1 }], count: 1, version: 3 });
  await settle();
  assert.equal(roll.value.count, 1);
  it.socket.end(1006);
  const none = outcome(it.throng.request("ping"));
  await settle();
  assert.equal(none.error.code, "not_connected");
});

test("what has a key is sent again when the connection falls, and is one message", async () => {
  const it = await connected();
  const plain = outcome(it.throng.publish("lobby", 1));
  const keyed = outcome(it.throng.publish("lobby", 2, { key: "k-1" }));
  assert.deepEqual(it.socket.of("publish").map(({ key }) => key), [undefined, "k-1"]);
  const socket = await lostAndBack(it);
  assert.equal(plain.error.code, "disconnected");
  assert.deepEqual(said(socket), [2]);
  assert.equal(socket.of("publish")[0].key, "k-1");
  socket.reply("publish", { ...receipt(2), dup: true });
  await settle();
  assert.deepEqual([keyed.value.offset, keyed.value.dup], [2, true]);
});

test("what has a key and was never answered is told as uncertain when there will be no connection", async () => {
  const it = await connected();
  const keyed = outcome(it.throng.publish("lobby", 2, { key: "k-1" }));
  it.throng.close();
  await settle();
  assert.deepEqual([keyed.error.code, keyed.error.indeterminate], ["disconnected", true]);
});

test("what has a key, was sent once and is pushed out of the queue is told as uncertain", async () => {
  const it = await connected({ queue: { max: 1, full: "drop_oldest" } });
  const keyed = outcome(it.throng.publish("lobby", 1, { key: "k-1" }));
  it.socket.end(1006);
  const next = outcome(it.throng.publish("lobby", 2));
  await settle();
  assert.deepEqual([keyed.error.code, keyed.error.indeterminate], ["disconnected", true]);
  const last = outcome(it.throng.publish("lobby", 3));
  await settle();
  assert.deepEqual([next.error.code, next.error.indeterminate, last], ["queue_full", false, {}]);
});

test("a receipt without an offset moves no position", async () => {
  const it = await connected();
  const sent = outcome(it.throng.publish("ticker:ibm", 1, { key: "ibm" }));
  it.socket.reply("publish", { room: "ticker:ibm", level: "none" });
  await settle();
  assert.equal(sent.value.level, "none");
});
