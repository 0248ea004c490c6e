// throng for browsers: one connection, any number of rooms, the protocol throng.v1 as JSON.
//
// Promises: comes back by itself, and joins again where it stopped, so that nothing said in between is missed; a message
// is handed out once and in order; what could not be had is told as a `gap`. It must never hide an error: every request
// is answered or rejected.
//
//   const throng = new Throng({ token: async () => jwt });
//   const room = throng.join("lobby", { history: 50, presence: true });
//   room.addEventListener("message", ({ detail }) => show(detail.from.user, detail.data));
//   await room.publish("hello");

const BACKOFF_MS = 1_000;
const BACKOFF_MAX_MS = 5_000;
const REQUEST_MS = 5_000;
const JOIN_AGAIN_MS = 2_000;

/** The server said no to a command; the connection lives. */
export class Refused extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.code = code;
    this.retryAfterMs = retry_after_ms;
  }
}

/**
 * Events (all with `detail`):
 * `state` {state: "connecting" | "open" | "waiting" | "closed", retryInMs?, code?, reason?},
 * `frame` {direction: "in" | "out", text}, `error` {code, message}.
 */
export class Throng extends EventTarget {
  #url;
  #token;
  #socket = null;
  #state = "closed";
  #rooms = new Map();
  #pending = new Map();
  #id = 0;
  #attempt = 0;
  #retryTimer = 0;
  #heartbeatTimer = 0;
  #heard = false;

  /** `url`: of the WebSocket, by default /ws of this page's host. `token`: gives a JWT, asked at every connect. */
  constructor({ url, token }) {
    super();
    const here = new URL("/ws", location.href);
    here.protocol = here.protocol === "https:" ? "wss:" : "ws:";
    this.#url = url ?? here.href;
    this.#token = token;
    addEventListener("online", () => this.#state === "waiting" && this.connect());
  }

  get state() {
    return this.#state;
  }

  /** Connects now, and again whenever the connection is lost, until `close` or a final refusal. */
  async connect() {
    if (this.#state === "connecting" || this.#state === "open") return;
    clearTimeout(this.#retryTimer);
    this.#enter("connecting");
    let token;
    try {
      token = await this.#token();
    } catch (error) {
      if (error.final) return this.#enter("closed", { reason: error.message });
      return this.#retry({ reason: error.message });
    }
    if (this.#state !== "connecting") return;
    const socket = new WebSocket(this.#url, ["throng.v1.json", `throng.token.${token}`]);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#socket === socket && this.#receive(data);
    socket.onclose = (close) => this.#socket === socket && this.#lost(close);
  }

  /** Ends the connection for good. */
  close() {
    clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#drop("the connection was closed");
    socket?.close(1000);
    this.#enter("closed", { code: 1000 });
  }

  /** Sits in a room from now on, also after the connection was lost and came back. */
  join(name, options = {}) {
    const known = this.#rooms.get(name);
    if (known) return known;
    const room = new Room(this, name, options);
    this.#rooms.set(name, room);
    if (this.#state === "open") room.enter();
    return room;
  }

  /** Sends a command and gives its reply; rejects with `Refused`, or because no answer came. */
  request(command) {
    return new Promise((resolve, reject) => {
      if (this.#state !== "open") return reject(new Error("There is no connection at the moment."));
      const id = ++this.#id;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error("The server did not answer in time; it may have done it all the same."));
      }, REQUEST_MS);
      this.#pending.set(id, { resolve, reject, timer });
      this.#send({ ...command, id });
    });
  }

  /** Leaves a room. */
  async leave(name) {
    this.#rooms.delete(name);
    if (this.#state === "open") await this.request({ type: "leave", room: name });
  }

  #send(envelope) {
    const text = JSON.stringify(envelope);
    this.#emit("frame", { direction: "out", text });
    this.#socket.send(text);
  }

  #receive(text) {
    this.#heard = true;
    this.#emit("frame", { direction: "in", text });
    const envelope = JSON.parse(text);
    switch (envelope.type) {
      case "welcome":
        return this.#welcomed(envelope);
      case "reply":
        return this.#settle(envelope.id, ({ resolve }) => resolve(envelope));
      case "error":
        if (envelope.id === undefined) return this.#emit("error", envelope);
        return this.#settle(envelope.id, ({ reject }) => reject(new Refused(envelope)));
      default:
        // Of a room, or of a later version: what is not known is not an error.
        this.#rooms.get(envelope.room)?.receive(envelope);
    }
  }

  #settle(id, answer) {
    const request = this.#pending.get(id);
    if (!request) return;
    this.#pending.delete(id);
    clearTimeout(request.timer);
    answer(request);
  }

  #welcomed(welcome) {
    this.#attempt = 0;
    this.#enter("open", { welcome });
    for (const room of this.#rooms.values()) room.enter();
    clearInterval(this.#heartbeatTimer);
    this.#heartbeatTimer = setInterval(() => this.#beat(), welcome.heartbeat_ms ?? 25_000);
  }

  /** Browsers hide the server's pings: after a silent interval we ask, and a dead connection is given up. */
  async #beat() {
    if (this.#heard) {
      this.#heard = false;
      return;
    }
    const socket = this.#socket;
    try {
      await this.request({ type: "ping" });
    } catch {
      if (this.#socket !== socket) return;
      socket.close();
      this.#lost({ code: 4002, reason: "nothing was heard from the server" });
    }
  }

  #lost({ code, reason }) {
    this.#drop("The connection was lost before the answer came; it may have been done all the same.");
    // By range, never by text: 4500 to 4999 do not come back.
    if (code >= 4500 && code <= 4999) return this.#enter("closed", { code, reason });
    this.#retry({ code, reason });
  }

  #drop(sentence) {
    this.#socket = null;
    clearInterval(this.#heartbeatTimer);
    for (const id of [...this.#pending.keys()]) this.#settle(id, ({ reject }) => reject(new Error(sentence)));
    for (const room of this.#rooms.values()) room.lost();
  }

  #retry(why) {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** this.#attempt++);
    const retryInMs = Math.round(Math.random() * ceiling);
    this.#enter("waiting", { ...why, retryInMs });
    this.#retryTimer = setTimeout(() => this.connect(), retryInMs);
  }

  #enter(state, detail = {}) {
    this.#state = state;
    this.#emit("state", { state, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * A room. Events (all with `detail`): `message` and `gap` as on the wire, `joined` {reply, again}, `came` and `went`
 * {users}, `members` {members, count} whenever they changed, `problem` (an Error: what did not work).
 */
class Room extends EventTarget {
  #throng;
  /** Up to here everything is had or was told as a gap; null before the first join. */
  #position = null;
  /** The highest offset handed out: history comes from before the position. */
  #shown = 0;
  #members = new Map();
  #count = 0;
  #version = -1;
  #seated = false;
  #retryTimer = 0;

  constructor(throng, name, options) {
    super();
    this.#throng = throng;
    this.name = name;
    this.options = options;
  }

  /** `{epoch, offset}`: what came later is asked for after the connection was lost. */
  get position() {
    return this.#position;
  }

  /** Says something; gives its `{epoch, offset, level}`. With `echo` the message comes back as everybody sees it. */
  publish(data, { event, echo } = {}) {
    return this.#throng.request({ type: "publish", room: this.name, data, event, echo });
  }

  /** Sits down: from the last known position if there is one. */
  async enter() {
    const { history, presence } = this.options;
    const again = this.#position !== null;
    const from = again ? { since: this.#position } : { history };
    try {
      const reply = await this.#throng.request({ type: "join", room: this.name, presence, ...from });
      this.#seated = true;
      if (!again) this.#position = { epoch: reply.epoch, offset: reply.offset };
      else if (this.#position.epoch !== reply.epoch) this.#restart(reply.epoch, 0);
      if (reply.members) this.#takeMembers(reply);
      this.#emit("joined", { reply, again });
    } catch (problem) {
      if (this.#throng.state !== "open") return;
      this.#emit("problem", new Error(`Not in the room: ${problem.message}`, { cause: problem }));
      const final = problem instanceof Refused && problem.code !== "busy";
      if (!final) this.#retryTimer = setTimeout(() => this.enter(), problem.retryAfterMs ?? JOIN_AGAIN_MS);
    }
  }

  /** The connection is gone: who is here is no longer known. */
  lost() {
    clearTimeout(this.#retryTimer);
    this.#seated = false;
  }

  /** An envelope of this room. */
  receive(envelope) {
    switch (envelope.type) {
      case "message":
        // At least once from the server; once from here.
        if (envelope.offset <= this.#shown) return;
        this.#shown = envelope.offset;
        this.#position.offset = Math.max(this.#position.offset, envelope.offset);
        return this.#emit("message", envelope);
      case "gap":
        this.#restart(envelope.epoch, envelope.to);
        this.#emit("gap", envelope);
        return this.options.presence ? this.#askMembers() : undefined;
      case "joined":
      case "left":
        return this.#comeOrGo(envelope);
    }
  }

  #restart(epoch, offset) {
    this.#position = { epoch, offset };
    this.#shown = offset;
  }

  /** Beside a gap comings and goings may have been lost too. */
  async #askMembers() {
    try {
      this.#takeMembers(await this.#throng.request({ type: "presence", room: this.name }));
    } catch (problem) {
      if (this.#seated) this.#emit("problem", new Error(`Who is here is uncertain: ${problem.message}`, { cause: problem }));
    }
  }

  #takeMembers({ members, count, version }) {
    this.#members = new Map(members.map((member) => [member.user, member]));
    this.#count = count;
    this.#version = version;
    this.#showMembers();
  }

  #comeOrGo({ type, users, count, version }) {
    if (version <= this.#version) return;
    this.#version = version;
    this.#count = count;
    for (const member of users) {
      if (type === "joined") this.#members.set(member.user, member);
      else this.#members.delete(member.user);
    }
    this.#emit(type === "joined" ? "came" : "went", { users });
    this.#showMembers();
  }

  #showMembers() {
    const members = [...this.#members.values()].sort((a, b) => (a.user < b.user ? -1 : 1));
    this.#emit("members", { members, count: this.#count });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
