// How things end: a listener, a wait, a room, a connection. Nothing is left behind, and nobody waits for ever.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Throng } from "../throng.js";
import { connected, EPOCH, lostAndBack, outcome, settle, typing, WELCOME, world } from "./fake.js";

/** Ann in the lobby, where bob types. */
async function watching() {
  const it = await connected();
  const lobby = it.throng.join("lobby", { presence: true });
  it.socket.seat(10, { presence: "announced", members: [], count: 0, version: 1 });
  it.socket.say(typing("bob"));
  return { it, lobby };
}

test("close before the first connect rejects what waits", async () => {
  const it = world();
  const said = outcome(it.throng.publish("lobby", 1));
  const ready = outcome(it.throng.join("lobby").ready);
  it.throng.close();
  await settle();
  assert.deepEqual([said.error?.code, ready.error?.code, it.throng.state], ["closed", "closed", "closed"]);
  assert.deepEqual([it.events, it.clock.waiting], [[], 0]);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  assert.equal(it.throng.state, "open");
});

test("a final end is told to who waits for a seat, and another connection is another wait", async () => {
  const it = world();
  const lobby = it.throng.join("lobby");
  const first = outcome(lobby.ready);
  it.throng.connect();
  await settle();
  it.socket.end(4503, "the token's signature does not fit");
  await settle();
  assert.equal(first.error?.code, "closed");
  assert.match(first.error.message, /signature/);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  const second = outcome(lobby.ready);
  it.socket.seat(7);
  await settle();
  assert.equal(second.value?.offset, 7);
  // Who had an answer keeps it.
  it.throng.close();
  assert.equal((await lobby.ready).offset, 7);
});

test("who waits for a seat that was refused waits anew when the next connection asks for it", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  it.socket.refuse("join", "forbidden");
  assert.equal((await lobby.ready.catch(({ code }) => code)), "forbidden");
  const socket = await lostAndBack(it);
  const ready = outcome(lobby.ready);
  socket.seat(7);
  await settle();
  assert.equal(ready.value?.offset, 7);
});

test("close leaves no timer, not even of a refresh that will be tried again", async () => {
  for (const why of ["token", "refused", "listener"]) {
    const it = await connected({
      token: ({ why: asked }) => {
        if (asked === "expiring" && why === "token") throw new Error("the backend is away");
        return "jwt";
      },
    });
    if (why === "listener") it.throng.on("error", () => it.throng.close());
    it.socket.say({ type: "expiring", in_ms: 60_000 });
    await settle();
    if (why !== "token") it.socket.refuse("refresh", "too_often", { retry_after_ms: 2_000 });
    await settle();
    assert.deepEqual(it.told("error").map(({ code }) => code), [why === "token" ? "token" : "too_often"]);
    it.throng.close();
    assert.equal(it.clock.waiting, 0, why);
  }
});

test("close amid a loss is the end of it: no other try", async () => {
  const { it, lobby } = await watching();
  lobby.on("typing", () => it.throng.close());
  it.socket.end(1006);
  await it.clock.advance(20_000);
  assert.deepEqual([it.throng.state, it.sockets.length, it.clock.waiting], ["closed", 1, 0]);
});

test("connect amid a loss is the one try there is", async () => {
  const { it, lobby } = await watching();
  lobby.on("typing", () => it.throng.connect());
  it.socket.end(1006);
  await it.clock.advance(5_000);
  assert.deepEqual([it.throng.state, it.sockets.length], ["connecting", 2]);
  it.socket.welcome();
  assert.equal(it.throng.state, "open");
});

test("close while the rooms are asked for again: nobody is told of a connection that is gone", async () => {
  const it = world();
  it.throng.join("lobby");
  it.throng.join("hall");
  it.throng.on("frame", ({ direction }) => direction === "out" && it.throng.close());
  const connecting = outcome(it.throng.connect());
  await settle();
  it.socket.welcome();
  await settle();
  assert.deepEqual(
    it.events.map(([type]) => type),
    ["disconnect"],
  );
  assert.deepEqual([connecting.error?.code, it.clock.waiting], ["closed", 0]);
});

test("a room that is left while it is taken again stays left, whatever becomes of the others", async () => {
  const it = await connected();
  it.throng.join("lobby");
  it.socket.seat(4);
  it.socket.end(1006);
  await it.clock.advance(5_000);
  it.socket.welcome();
  it.throng.leave("lobby").catch(() => {});
  it.socket.refuse("resume", "busy", { retry_after_ms: 100 });
  await it.clock.advance(1_000);
  assert.equal(it.socket.sent.filter(({ type }) => type === "join").length, 0);
});

test("what is said amid a frame goes behind it, and a room that is joined there is asked for once", async () => {
  const it = await connected();
  it.throng.on("frame", ({ direction, data }) => {
    if (direction === "out" && data.includes('"first"')) it.throng.publish("lobby", "second").catch(() => {});
  });
  it.throng.publish("lobby", "first").catch(() => {});
  assert.deepEqual(
    it.socket.of("publish").map(({ data }) => data),
    ["first", "second"],
  );

  const other = world();
  for (const room of ["lobby", "hall"]) other.throng.join(room);
  other.throng.on("frame", ({ direction }) => direction === "out" && other.throng.join("hall"));
  other.throng.connect();
  await settle();
  other.socket.welcome();
  assert.deepEqual(
    other.socket.of("join").map(({ room }) => room),
    ["lobby", "hall"],
  );
});

test("what is no token is not the end: the next one may be", async () => {
  const tokens = ["<html>502 Bad Gateway</html>", "jwt"];
  const it = world({ token: () => tokens.shift() });
  it.throng.connect();
  await settle();
  assert.deepEqual([it.throng.state, it.sockets.length], ["waiting", 0]);
  assert.match(it.told("connect_error")[0].reason, /no token/);
  await it.clock.advance(5_000);
  assert.equal(it.socket.protocols[1], "throng.token.jwt");
});

test("an address that cannot be written is final where it is always the same", async () => {
  class Picky {
    constructor(url) {
      if (url.startsWith("no")) throw new Error("that is no address");
    }
  }
  const runtime = { WebSocket: Picky };
  const fixed = world({ url: "nowhere", runtime });
  fixed.throng.connect();
  const asked = world({ url: () => "nowhere", runtime });
  asked.throng.connect();
  await settle();
  assert.deepEqual([fixed.throng.state, asked.throng.state], ["closed", "waiting"]);
  assert.equal(asked.told("connect_error")[0].reason, "that is no address");
});

test("a browser that keeps nothing is no reason to fail", async () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "sessionStorage");
  const get = () => {
    throw new Error("storage is denied here");
  };
  Object.defineProperty(globalThis, "sessionStorage", { configurable: true, get });
  try {
    assert.equal(new Throng({ session: "page" }).state, "idle");
  } finally {
    if (before) Object.defineProperty(globalThis, "sessionStorage", before);
    else delete globalThis.sessionStorage;
  }
});

test("timers that always come late do not hide that the server is dead", async () => {
  const it = await connected();
  await it.clock.advance(25_000);
  await it.clock.sleep(60_000);
  assert.equal(it.throng.state, "open", "it may have been asleep");
  await it.clock.sleep(60_000);
  assert.match(it.told("disconnect")[0].reason, /nothing was heard/);
});

test("who stops listening is not told, however it listened and wherever it stops", async () => {
  const it = await connected();
  const heard = [];
  const once = () => heard.push("once");
  it.throng.once("frame", once);
  it.throng.off("frame", once);
  const stopped = () => heard.push("stopped");
  it.throng.on("frame", () => it.throng.off("frame", stopped));
  it.throng.on("frame", stopped);
  it.socket.message(1);
  assert.deepEqual(heard, []);
  // Who listens already goes on listening.
  const always = () => heard.push("always");
  it.throng.on("drain", always);
  it.throng.once("drain", always);
  for (let n = 0; n < 2; n += 1) it.socket.say({ type: "drain", reconnect_in_ms: 1_000 });
  assert.deepEqual(heard, ["always", "always"]);
});

test("a connection that closes at once after its greeting is told in order", async () => {
  const it = world();
  it.throng.on("connect", () => it.throng.close());
  it.throng.connect();
  await settle();
  it.socket.open();
  it.socket.say(WELCOME);
  assert.deepEqual(
    it.events.map(([type]) => type),
    ["connect", "disconnect"],
  );
  assert.equal(it.clock.waiting, 0);
});

test("a leave that nobody waits for, and that is not answered, is no uncaught error", async () => {
  const it = await connected();
  it.throng.join("lobby");
  it.socket.seat(1);
  const left = it.throng.leave("lobby");
  // Unheard by anybody for long enough to be reported (node), were it not for the client.
  await it.clock.advance(5_000);
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(await left.catch(({ code }) => code), "timeout");
});

test("an answer without a time to wait is no reason to ask without end", async () => {
  const it = await connected();
  it.throng.join("lobby");
  it.socket.refuse("join", "busy");
  await it.clock.advance(1_499);
  assert.equal(it.socket.of("join").length, 1);
  await it.clock.advance(1);
  assert.equal(it.socket.of("join").length, 2);
  it.socket.reply("join", { room: "lobby", epoch: EPOCH, offset: 1 });
  assert.equal(it.throng.join("lobby").seated, true);
});
