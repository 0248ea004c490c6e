// Never run: read by the type checker (`tsc --project clients/js`). What must not pass is marked; a mark that is no
// longer needed is an error, too.
import { json, msgpack, Throng, ThrongError } from "../throng.js";

const throng = new Throng({
  url: "ws://server/ws",
  token: async ({ why, code }) => (why === "expiring" || code ? "a" : null),
});
new Throng();
new Throng({ codec: json, carrier: "hello", queue: { full: "drop_oldest" }, backoff: { maxMs: 1 } });
new Throng({ codec: msgpack({ encode: (value) => new Uint8Array(value), decode: (bytes) => bytes.length }) });
// @ts-expect-error no such carrier
new Throng({ carrier: "cookie" });
// @ts-expect-error no such policy
new Throng({ queue: { full: "drop" } });
// @ts-expect-error a token is text
new Throng({ token: () => 7 });

throng.on("disconnect", ({ code, reason, retryInMs }) => {
  /** @type {[number, string, number | null]} */
  const all = [code, reason, retryInMs];
  return all;
});
throng.on("reconnect_attempt", ({ attempt }) => attempt.toFixed());
throng.on("drain", ({ reconnect_in_ms }) => reconnect_in_ms.toFixed());
// @ts-expect-error no such event
throng.on("connected", () => {});
// @ts-expect-error a gap has no data
throng.on("gap", ({ data }) => data);

const room = throng.join("lobby", { history: 50, presence: true, since: { epoch: "0", offset: 1 } });
room.on("message", ({ room, epoch, offset, at, from, data }) => [
  room,
  epoch,
  offset.toFixed(),
  at.toFixed(),
  from.user,
  data,
]);
room.on("error", (error) => error.code === "busy" && error.retryAfterMs?.toFixed());
// @ts-expect-error what a connection tells, not a room
room.on("connect", () => {});
// @ts-expect-error a position has an epoch
throng.join("lobby", { since: { offset: 1 } });

export async function receipt() {
  const { epoch, offset } = await room.publish({ text: "hello" }, { event: "chat.said", echo: true });
  const { members, count } = await room.presence();
  // @ts-expect-error a receipt has no data
  (await throng.publish("lobby", 1)).data;
  /** @type {[string, number, string, number]} */
  const all = [epoch, offset, members[0].user, count];
  return all;
}

/** @param {unknown} error */
export function told(error) {
  return error instanceof ThrongError && error.indeterminate ? error.code : "";
}
