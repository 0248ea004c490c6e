// People in a page, with the real client and a real server (tests/client_js.rs). Whatever they are told is written into
// the page: so the test sees it come, and sees it all when something never came.
import { json, msgpack, Throng } from "../throng.js";
import { decode, encode } from "./msgpack.js";

/** Somebody comes in: `globalThis[user]` from then on. Of several tokens each is given once, the last at every new try. */
globalThis.arrive = (user, url, token, codec) => {
  const [asked, tokens] = [[], [token].flat()];
  let last;
  const throng = new Throng({
    url,
    token: ({ why }) => {
      asked.push(why);
      const fresh = tokens.shift();
      last = fresh ?? last;
      // Who has no other is not helped by the same again.
      return why === "expiring" ? fresh : last;
    },
    codec: codec === "msgpack" ? msgpack({ encode, decode }) : json,
    backoff: { baseMs: 100, maxMs: 500 },
    // A slow machine is no reason to fail.
    requestTimeoutMs: 30_000,
    connectTimeoutMs: 30_000,
  });
  const room = throng.join("lobby", { presence: true });
  const person = { throng, room, asked, heard: [], gaps: [], told: [], reasons: [] };
  const note = (sentence) => {
    const line = document.createElement("li");
    line.textContent = `${user}: ${sentence}`;
    document.getElementById("log").append(line);
  };
  const tell = (what) => note(person.told.push(what) && what);
  person.say = async (data) => (await room.publish(data)).level;
  room.on("message", ({ from, data }) => note(`${from.user} said ${person.heard.push(data) && data}`));
  room.on("gap", ({ why }) => note(`gap ${person.gaps.push(why) && why}`));
  room.on("error", ({ code }) => tell(`error ${code}`));
  room.on("join", () => note("joined"));
  room.on("members", ({ count }) => note(`${count} here`));
  const end =
    (what) =>
    ({ code, reason, retryInMs }) => {
      person.reasons.push(reason);
      tell(`${what} ${code}${retryInMs === null ? " final" : ""}`);
    };
  throng.on("disconnect", end("disconnect"));
  throng.on("connect_error", end("connect_error"));
  throng.on("reconnect", () => tell("reconnect"));
  throng.on("refresh", () => tell("refresh"));
  room.on("removed", ({ why }) => tell(`removed ${why}`));
  throng.on("error", ({ code }) => tell(`error ${code}`));
  globalThis[user] = person;
  throng.connect().catch(() => {});
};
