// How the connection comes, goes, and comes back.
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, lostAndBack, outcome, settle, WELCOME, world } from "./fake.js";

test("the token goes as a subprotocol beside the encoding", async () => {
  const it = world();
  const connecting = outcome(it.throng.connect());
  assert.equal(it.throng.state, "connecting");
  await settle();
  assert.equal(it.socket.url, "ws://server/ws");
  assert.deepEqual(it.socket.protocols, ["throng.v1.json", "throng.token.jwt"]);
  it.socket.open();
  assert.equal(it.throng.state, "connecting");
  it.socket.say(WELCOME);
  await settle();
  assert.equal(it.throng.state, "open");
  assert.equal(connecting.value.user, "ann");
  assert.equal(it.throng.welcome.node, "n1");
  assert.deepEqual(
    it.events.map(([type]) => type),
    ["connect"],
  );
  assert.equal(it.told("connect")[0].again, false);
});

test("with the carrier hello the token is the first message, and no header shows it", async () => {
  const it = world({ carrier: "hello" });
  it.throng.connect();
  await settle();
  assert.deepEqual(it.socket.protocols, ["throng.v1.json"]);
  assert.deepEqual(it.socket.sent, []);
  it.socket.open();
  assert.deepEqual(it.socket.sent, [{ type: "hello", token: "jwt" }]);
});

test("without a token none is sent, and the address may be asked for at every try", async () => {
  let tries = 0;
  const it = world({ token: () => null, url: async () => `ws://server/ws?ticket=${++tries}` });
  it.throng.connect();
  await settle();
  assert.equal(it.socket.url, "ws://server/ws?ticket=1");
  assert.deepEqual(it.socket.protocols, ["throng.v1.json"]);
  it.socket.end(1006);
  await it.clock.advance(5_000);
  assert.equal(it.socket.url, "ws://server/ws?ticket=2");
});

test("the delay doubles from 1 s to 5 s, is drawn between nothing and all of that, and has no end", async () => {
  for (const random of [0, 0.25, 0.999]) {
    const it = world();
    it.random = random;
    it.throng.connect();
    await settle();
    for (const ceiling of [1_000, 2_000, 4_000, 5_000, 5_000, 5_000]) {
      it.socket.end(1006);
      const { retryInMs, code, slot } = it.told("connect_error").at(-1);
      assert.deepEqual([retryInMs, code, slot], [Math.round(random * ceiling), 1006, false]);
      assert.equal(it.throng.state, "waiting");
      const tries = it.sockets.length;
      if (retryInMs > 0) {
        await it.clock.advance(retryInMs - 1);
        assert.equal(it.sockets.length, tries, "too early");
      }
      await it.clock.advance(1);
      assert.equal(it.sockets.length, tries + 1, "too late");
    }
    for (let more = 0; more < 200; more += 1) {
      it.socket.end(1006);
      await it.clock.advance(5_000);
    }
    assert.equal(it.sockets.length, 207);
    assert.deepEqual(
      it
        .told("reconnect_attempt")
        .map(({ attempt }) => attempt)
        .slice(0, 3),
      [2, 3, 4],
    );
  }
});

test("a connection that stood for a while begins the delays anew, one that fell at once does not", async () => {
  const it = world();
  it.random = 0.999;
  it.throng.connect();
  await settle();
  it.socket.end(1006);
  await it.clock.advance(5_000);
  it.socket.welcome();
  it.socket.end(1011);
  assert.equal(it.told("disconnect")[0].retryInMs, 1_998);
  await it.clock.advance(5_000);
  it.socket.welcome();
  await it.clock.advance(5_000);
  it.socket.end(1011);
  assert.equal(it.told("disconnect")[1].retryInMs, 999);
});

test("after a loss: disconnect with its reason, then an attempt, then connect and reconnect", async () => {
  const it = await connected();
  it.events.length = 0;
  it.socket.end(4001, "nothing was read for too long");
  assert.equal(it.throng.state, "waiting");
  await it.clock.advance(5_000);
  it.socket.welcome();
  assert.deepEqual(
    it.events.map(([type]) => type),
    ["disconnect", "reconnect_attempt", "connect", "reconnect"],
  );
  assert.deepEqual(it.events[0][1], {
    code: 4001,
    reason: "nothing was read for too long",
    retryInMs: 500,
    slot: false,
  });
  assert.deepEqual([it.events[2][1].again, it.events[3][1].attempts], [true, 1]);
});

test("4500 to 4999 do not come back, their neighbours do", async () => {
  for (const [code, back] of [
    [4499, true],
    [4500, false],
    [4503, false],
    [4999, false],
    [5000, true],
    [1001, true],
    [1012, true],
    [1002, true],
  ]) {
    for (const stood of [true, false]) {
      const it = world();
      const connecting = outcome(it.throng.connect());
      await settle();
      if (stood) it.socket.welcome();
      it.socket.end(code, "because");
      const [ended] = it.told(stood ? "disconnect" : "connect_error");
      assert.deepEqual([ended.code, ended.reason, ended.retryInMs !== null], [code, "because", back]);
      assert.equal(it.throng.state, back ? "waiting" : "closed");
      await it.clock.advance(60_000);
      assert.equal(it.sockets.length > 1, back, `${code}`);
      if (!back) {
        assert.equal(it.clock.waiting, 0);
        if (!stood)
          assert.deepEqual([connecting.error.code, connecting.error.message.includes("because")], ["closed", true]);
      }
    }
  }
});

test("a time the server chose wins over backoff, counted from when it was told", async () => {
  const it = await connected();
  it.socket.say({ type: "drain", reconnect_in_ms: 20_000 });
  assert.equal(it.told("drain")[0].reconnect_in_ms, 20_000);
  assert.equal(it.throng.state, "open");
  await it.clock.advance(3_000);
  it.socket.end(1012, "restart");
  assert.deepEqual(it.told("disconnect")[0], { code: 1012, reason: "restart", retryInMs: 17_000, slot: true });
  await it.clock.advance(16_999);
  assert.equal(it.sockets.length, 1);
  await it.clock.advance(1);
  assert.equal(it.sockets.length, 2);
  // The slot held once.
  it.socket.end(1006);
  assert.deepEqual([it.told("connect_error")[0].retryInMs, it.told("connect_error")[0].slot], [500, false]);
});

test("sent away when its slot has come it comes back at once, without backoff", async () => {
  const it = await connected();
  it.socket.say({ type: "drain", reconnect_in_ms: 1_000 });
  await it.clock.advance(1_020);
  it.socket.end(1012, "restart");
  assert.deepEqual(it.told("disconnect")[0], { code: 1012, reason: "restart", retryInMs: 0, slot: true });
  await it.clock.advance(0);
  assert.equal(it.sockets.length, 2);
  // Nobody is there yet: that is backoff's business.
  it.socket.end(1006);
  assert.deepEqual([it.told("connect_error")[0].retryInMs, it.told("connect_error")[0].slot], [500, false]);
});

test("cut off behind its slot leaves it to backoff; a terminal code wins over a slot", async () => {
  const it = await connected();
  it.socket.say({ type: "drain", reconnect_in_ms: 1_000 });
  await it.clock.advance(4_000);
  it.socket.end(1006);
  assert.equal(it.told("disconnect")[0].slot, false);
  const other = await connected();
  other.socket.say({ type: "drain", reconnect_in_ms: 1_000 });
  other.socket.end(4500, "revoked");
  assert.equal(other.throng.state, "closed");
  await other.clock.advance(60_000);
  assert.equal(other.sockets.length, 1);
});

test("who does not wait for the slot and fails is given it again; who gets in is done with it", async () => {
  const it = await connected();
  it.socket.say({ type: "drain", reconnect_in_ms: 20_000 });
  it.socket.end(1012);
  it.throng.connect();
  await settle();
  it.socket.end(1006);
  assert.deepEqual([it.told("connect_error")[0].retryInMs, it.told("connect_error")[0].slot], [20_000, true]);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  it.socket.end(1006);
  assert.equal(it.told("disconnect").at(-1).slot, false);
});

test("connect while waiting tries at once, and once", async () => {
  const it = await connected();
  it.socket.end(1006);
  it.throng.connect();
  it.throng.connect();
  await settle();
  assert.equal(it.sockets.length, 2);
  it.socket.welcome();
  await it.clock.advance(20_000);
  assert.equal(it.sockets.length, 2);
});

test("the token is asked for at every try, with the reason for it", async () => {
  const asked = [];
  const it = world({ token: (why) => `t${asked.push(why)}` });
  it.throng.connect();
  await settle();
  it.socket.welcome();
  it.socket.end(4003, "the token's time is over");
  await it.clock.advance(5_000);
  assert.deepEqual(asked, [{ why: "connect" }, { why: "reconnect", code: 4003, reason: "the token's time is over" }]);
  assert.equal(it.socket.protocols[1], "throng.token.t2");
});

test("a token callback that fails is tried again; one that says final is not", async () => {
  let fails = true;
  const it = world({
    token: async () => {
      if (fails) throw new Error("the backend is away");
      return "jwt";
    },
  });
  it.throng.connect();
  await settle();
  assert.equal(it.sockets.length, 0);
  assert.deepEqual([it.told("connect_error")[0].code, it.told("connect_error")[0].reason], [0, "the backend is away"]);
  fails = false;
  await it.clock.advance(5_000);
  assert.equal(it.sockets.length, 1);

  const final = world({ token: () => Promise.reject(Object.assign(new Error("not a user"), { final: true })) });
  const connecting = outcome(final.throng.connect());
  await final.clock.advance(60_000);
  assert.equal(final.throng.state, "closed");
  assert.equal(connecting.error.code, "closed");
  assert.equal(final.told("connect_error").length, 1);
});

test("a try that hangs is given up, wherever it hangs", async () => {
  const noToken = world({ token: () => new Promise(() => {}) });
  noToken.throng.connect();
  await noToken.clock.advance(10_000);
  assert.equal(noToken.told("connect_error")[0].reason, "not connected within 10000 ms");

  const noWelcome = world();
  noWelcome.throng.connect();
  await settle();
  const [first] = noWelcome.sockets;
  first.open();
  await noWelcome.clock.advance(10_000);
  assert.equal(noWelcome.told("connect_error").length, 1);
  assert.ok(first.closedWith);
  // What an old socket still has to say is not heard.
  await noWelcome.clock.advance(5_000);
  first.say(WELCOME);
  first.end(4503);
  assert.equal(noWelcome.throng.state, "connecting");
});

test("what cannot be opened at all is final and said", async () => {
  const it = world({ runtime: { WebSocket: undefined } });
  it.throng.connect();
  await settle();
  assert.equal(it.throng.state, "closed");
  assert.match(it.told("connect_error")[0].reason, /no WebSocket/);
});

test("close ends it, rejects what waits, leaves no timer, and connect begins again", async () => {
  const it = await connected();
  const lobby = it.throng.join("lobby");
  it.socket.seat(4);
  const said = outcome(lobby.publish("x"));
  it.throng.close();
  await settle();
  assert.deepEqual(it.socket.closedWith, { code: 1000, reason: undefined });
  assert.deepEqual([said.error.code, said.error.indeterminate], ["disconnected", true]);
  assert.deepEqual(it.told("disconnect"), [{ code: 1000, reason: "closed here", retryInMs: null, slot: false }]);
  assert.equal(it.clock.waiting, 0);
  const late = outcome(lobby.publish("y"));
  await settle();
  assert.deepEqual([late.error.code, late.error.indeterminate], ["closed", false]);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  assert.deepEqual(it.socket.of("join")[0].since, { epoch: "00abcdef01234567", offset: 4 });
});

test("close while connecting or waiting is the end of it, too", async () => {
  const connecting = world();
  const promise = outcome(connecting.throng.connect());
  await settle();
  connecting.throng.close();
  await settle();
  assert.deepEqual([connecting.sockets.length, connecting.clock.waiting, promise.error.code], [1, 0, "closed"]);

  const waiting = await connected();
  waiting.socket.end(1006);
  waiting.throng.close();
  await waiting.clock.advance(60_000);
  assert.deepEqual([waiting.sockets.length, waiting.clock.waiting], [1, 0]);
  // Begun again, the delays begin again.
  waiting.throng.connect();
  await settle();
  waiting.socket.end(1006);
  assert.equal(waiting.told("connect_error")[0].retryInMs, 500);
});

test("after a silent interval we ask; an answer is life, no answer is the end", async () => {
  const it = await connected();
  await it.clock.advance(24_999);
  assert.equal(it.socket.of("ping").length, 0);
  await it.clock.advance(1);
  assert.equal(it.socket.of("ping").length, 1);
  it.socket.reply("ping");
  await it.clock.advance(24_999);
  assert.equal(it.socket.of("ping").length, 1);
  await it.clock.advance(1);
  assert.equal(it.socket.of("ping").length, 2);
  const [dead] = it.sockets;
  await it.clock.advance(4_999);
  assert.equal(it.throng.state, "open");
  await it.clock.advance(1);
  const [ended] = it.told("disconnect");
  assert.equal(ended.code, 0);
  assert.match(ended.reason, /nothing was heard/);
  assert.ok(dead.closedWith);
  await it.clock.advance(5_000);
  assert.equal(it.sockets.length, 2);
});

test("anything heard is life: who hears messages does not ask, and one in answer's stead will do", async () => {
  const it = await connected();
  for (let seconds = 0; seconds < 100; seconds += 20) {
    await it.clock.advance(20_000);
    it.socket.message(seconds + 1);
  }
  assert.equal(it.socket.of("ping").length, 0);
  await it.clock.advance(25_000);
  assert.equal(it.socket.of("ping").length, 1);
  it.socket.message(1_000);
  await it.clock.advance(5_000);
  assert.equal(it.throng.state, "open");
});

test("after a sleep the server is asked before it is thought dead", async () => {
  const it = await connected();
  await it.clock.advance(25_000);
  assert.equal(it.socket.of("ping").length, 1);
  await it.clock.sleep(3_600_000);
  assert.equal(it.throng.state, "open");
  assert.equal(it.socket.of("ping").length, 2);
  it.socket.reply("ping");
  await it.clock.advance(5_000);
  assert.equal(it.throng.state, "open");
});

test("when the network comes, goes or changes the server is asked at once, and once", async () => {
  const { addEventListener } = globalThis;
  const listeners = new Map();
  globalThis.addEventListener = (type, run) => listeners.set(type, run);
  const it = await connected();
  globalThis.addEventListener = addEventListener;
  await it.clock.advance(10);
  listeners.get("offline")();
  listeners.get("online")();
  assert.equal(it.socket.of("ping").length, 1);
  await it.clock.advance(10);
  it.socket.reply("ping");
  await it.clock.advance(5_000);
  assert.equal(it.throng.state, "open");
  listeners.get("online")();
  assert.equal(it.socket.of("ping").length, 2);
  await it.clock.advance(5_000);
  assert.match(it.told("disconnect")[0].reason, /nothing was heard/);
  // Then there is nobody to ask, and no use in waiting.
  listeners.get("offline")();
  assert.equal(it.sockets.length, 1);
  listeners.get("online")();
  await settle();
  assert.equal(it.sockets.length, 2);
});

test("the interval is the server's", async () => {
  const it = world();
  it.throng.connect();
  await settle();
  it.socket.welcome({ heartbeat_ms: 1_000 });
  await it.clock.advance(1_000);
  assert.equal(it.socket.of("ping").length, 1);
});

test("an expiring token is refreshed on the living connection, by the same callback", async () => {
  const asked = [];
  const it = await connected({ token: (why) => `t${asked.push(why)}` });
  it.socket.say({ type: "expiring", in_ms: 60_000 });
  await settle();
  assert.equal(it.told("expiring")[0].in_ms, 60_000);
  assert.equal(asked[1].why, "expiring");
  assert.equal(it.socket.of("refresh")[0].token, "t2");
  it.socket.reply("refresh");
  assert.equal(it.told("refresh").length, 1);
  assert.equal(it.sockets.length, 1);
});

test("a refresh that may pass is tried again, one that is refused is told once", async () => {
  let fails = 2;
  const it = await connected({
    token: async ({ why }) => {
      if (why === "expiring" && fails-- > 0) throw new Error("the backend is away");
      return "fresh";
    },
  });
  it.socket.say({ type: "expiring", in_ms: 60_000 });
  await it.clock.advance(500 + 1_000);
  assert.deepEqual(
    it.told("error").map(({ code }) => code),
    ["token", "token"],
  );
  assert.equal(it.socket.of("refresh").length, 1);
  it.socket.refuse("refresh", "bad_token");
  await it.clock.advance(20_000);
  assert.equal(it.socket.of("refresh").length, 1);
  assert.equal(it.told("error").at(-1).code, "bad_token");
});

test("a refresh does not reach over to the next connection", async () => {
  let give;
  const it = await connected({
    token: ({ why }) => (why === "expiring" ? new Promise((resolve) => (give = resolve)) : "jwt"),
  });
  it.socket.say({ type: "expiring", in_ms: 60_000 });
  await settle();
  const socket = await lostAndBack(it);
  give("late");
  await settle();
  assert.equal(socket.of("refresh").length, 0);
});

test("what cannot be read ends the connection, what is not known does not", async () => {
  const it = await connected();
  it.socket.say({ type: "from_the_future", room: "x", what: 1 });
  it.socket.say({ type: "error", code: "malformed", message: "byte 9" });
  assert.equal(it.told("error")[0].code, "malformed");
  assert.equal(it.throng.state, "open");
  it.socket.onmessage({ data: "{" });
  assert.match(it.told("disconnect")[0].reason, /cannot be read/);
  await it.clock.advance(5_000);
  it.socket.open();
  it.socket.onmessage({ data: "null" });
  assert.match(it.told("connect_error")[0].reason, /not an envelope/);
});

test("listeners can be taken off, heard once, and closing amid an event is heard by nobody else", async () => {
  const it = world();
  let [on, once] = [0, 0];
  const off = it.throng.on("frame", () => (on += 1));
  it.throng.once("frame", () => (once += 1));
  it.throng.connect();
  await settle();
  it.socket.welcome();
  it.socket.message(1);
  assert.deepEqual([on, once], [2, 1]);
  off();
  it.throng.once("frame", () => it.throng.close());
  it.socket.message(2);
  it.socket.message(3);
  assert.equal(on, 2);
  assert.equal(it.throng.state, "closed");

  const early = world();
  early.throng.once("frame", () => early.throng.close());
  early.throng.connect();
  await settle();
  early.socket.welcome();
  assert.equal(early.throng.state, "closed");
});
