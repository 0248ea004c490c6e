// @ts-check
// throng for JavaScript: one connection, any number of rooms, the protocol throng.v1 (docs/protocol.md).
//
// What it promises: it comes back by itself and without end, unless the server says by its code not to; it joins again
// where it stopped, so that nothing said in between is missed; a message is handed out once and in order; what could not
// be had is told as a `gap`; every publish is answered or rejected. Everything that waits has a bound.
// What it must never do: hide an error, or send a publish twice of which it does not know what became.
//
//   const throng = new Throng({ url: "wss://example.org/ws", token: async () => jwt });
//   const lobby = throng.join("lobby", { history: 50, presence: true });
//   lobby.on("message", ({ from, data }) => show(from.user, data));
//   throng.connect();
//   const { offset } = await lobby.publish("hello");
//
// Times are milliseconds. What came from the server is given as it came; names made here are in camelCase.

/**
 * Where a message stands: dense offsets from 1 within an epoch.
 * @typedef {{epoch: string, offset: number}} Position
 *
 * @typedef {{user: string, info?: any}} User `info` is what the token says about the user.
 * @typedef {{user: string, info?: any, connections?: number}} Member `connections: 0`: away, the last one was lost a
 *   moment ago.
 * @typedef {{members: Member[], count: number, version: number}} Roll `count` is true even when the list is cut short.
 * @typedef {{user: string, offset: number}} ReadBy
 * @typedef {Roll & {presence?: "announced" | "counted" | "off", reads?: ReadBy[]}} FullRoll
 * @typedef {{room: string, epoch?: string, offset: number, read: number, unread: number}} Unread
 * @typedef {{room: string, epoch?: string, offset: number, at: number, from: User, event?: string, key?: string, data: any}} Message
 *   Without `epoch`: spoken to us by the server's backend, in `@all` or in `@` and our own name, where we do not sit.
 *   In rooms that keep no order ("latest", "ephemeral") without `offset`; there `key` says which value it is.
 * @typedef {{room: string, epoch?: string, offset: number, messages: Message[], gap?: {from: number, to: number, why: string},
 *   reads?: ReadBy[]}} Page `offset`: the newest there is. Messages are oldest first. `reads`: who has read the first
 *   of them, or further.
 * @typedef {{room: string, epoch: string, from: number, to: number, why: string}} Gap Not to be had: `from` to `to`
 *   inclusive; with `to < from` nothing is known to be missing. `why`: "retention", "slow", "epoch", "unknown".
 * @typedef {{room: string, users: User[], count: number, version: number}} ComeOrGo
 * @typedef {{users: User[], count: number}} Typists Without ourselves; `count` is true even where few are named.
 * @typedef {{room: string, why: string}} Removed `why`: "grants", and "busy" and "too_many_rooms"
 *   (a new token, or the server's rules, do not grant it; a resumed room without an `id` could not be joined).
 * @typedef {{room: string, epoch: string, offset: number, level: string, dup?: boolean}} Receipt `dup`: it was there
 *   already, by its key. Where messages have no offset, neither has it, and `level` is "none".
 * @typedef {{room: string, epoch: string, offset: number, recovered?: boolean, read?: number, unread?: number,
 *   presence?: "announced" | "counted" | "off", members?: Member[], count?: number, version?: number,
 *   reads?: ReadBy[]}} JoinReply `presence`: what the room tells of its people, where it was asked for.
 * @typedef {{session: string, resumed: boolean, user: string, node: string, heartbeat_ms: number,
 *   limits: {message_bytes: number, rooms: number, depth: number}}} Welcome
 *
 * Why the token is asked for. `code` and `reason` are those of the last close, if there was one.
 * @typedef {{why: "connect" | "reconnect" | "expiring", code?: number, reason?: string}} Asked
 *
 * How a connection, or a try, ended. `code`: the close code; 0 when it was decided here. `retryInMs`: until the next
 * try; null when there will be none. `slot`: the server chose that time.
 * @typedef {{code: number, reason: string, retryInMs: number | null, slot: boolean, cause?: unknown}} Ended
 *
 * @typedef {Object} ThrongEvents
 * @property {{welcome: Welcome, again: boolean}} connect The connection stands.
 * @property {Ended} disconnect It stood, and is gone.
 * @property {Ended} connect_error A try failed.
 * @property {{attempt: number}} reconnect_attempt A try begins that is not the first.
 * @property {{welcome: Welcome, attempts: number}} reconnect It stands again. Comes after its `connect`.
 * @property {Message} message In any room; the same event comes to the `Room`. And what the backend says to everybody or
 *   to us, without a join.
 * @property {Gap} gap As above.
 * @property {ComeOrGo} joined As above.
 * @property {ComeOrGo} left As above.
 * @property {Removed} removed As above.
 * @property {ThrongError} error Something went wrong that no promise tells.
 * @property {{in_ms: number}} expiring The token ends; a new one is asked for and sent.
 * @property {{reply: any}} refresh The server took the new token.
 * @property {{resumed: boolean}} resume Whether the session of the lost connection goes on. If not, nothing is lost by it:
 *   the rooms go on from their positions all the same.
 * @property {{reconnect_in_ms: number}} drain The server will close; this is our time to come back.
 * @property {{direction: "in" | "out", data: string | Uint8Array}} frame What crosses the wire. `out` shows the token of
 *   `hello` and `refresh`: not for logs.
 *
 * @typedef {Object} RoomEvents
 * @property {Message} message Said in this room.
 * @property {Gap} gap What could not be had.
 * @property {{reply: JoinReply, again: boolean}} join We sit in the room; `again`: after the connection was lost.
 * @property {ComeOrGo} joined With `presence`: users came.
 * @property {ComeOrGo} left With `presence`: users went.
 * @property {ComeOrGo} away With `presence`: users lost their last connection, and may be back in a moment.
 * @property {ComeOrGo} back With `presence`: users who were away are here again.
 * @property {Typists} typing With `presence`: who types, whenever it changed.
 * @property {{reads: ReadBy[]}} read Who has read how far: with `presence` everybody, else our own other connections.
 * @property {Removed} removed The server took the seat away: it is not granted any more. Asked for again by the next
 *   connection, by `join`, and when a new token was taken.
 * @property {Roll} members With `presence`: who is here, whenever it changed. A room that only counts names nobody.
 * @property {ThrongError} error What did not work: a refused or late join, an uncertain list of members.
 *
 * @typedef {Object} Codec
 * @property {string} subprotocol What is offered to the server.
 * @property {(envelope: any) => string | Uint8Array} encode
 * @property {(data: string | Uint8Array) => any} decode Throws at what is not an envelope.
 *
 * The world, replaced by tests; `WebSocket` also where there is none (Node before 22: that of the package `ws`).
 * @typedef {Object} Runtime
 * @property {any} WebSocket
 * @property {() => number} now Monotonic.
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} random 0 (inclusive) to 1 (exclusive).
 *
 * @typedef {Object} ThrongOptions
 * @property {string | (() => string | Promise<string>)} [url] Of the WebSocket; a function is asked at every try.
 *   Default: /ws of this page's host.
 * @property {(asked: Asked) => string | null | undefined | Promise<string | null | undefined>} [token] Gives a JWT, at
 *   every try and when one is expiring. Nothing: none is sent (a cookie or a ticket says who we are). An error with
 *   `final: true` ends the trying.
 * @property {"subprotocol" | "hello"} [carrier] How the token goes. "subprotocol" (default): with the request, which
 *   spares a round trip. "hello": as the first message, where proxies write request headers to their logs.
 * @property {Codec} [codec] `json` (default) or `msgpack(module)`.
 * @property {number} [requestTimeoutMs] For an answer: 5,000.
 * @property {number} [connectTimeoutMs] For a try, the token's callback included: 10,000.
 * @property {{baseMs?: number, maxMs?: number}} [backoff] 1,000 doubling to 5,000; the delay is drawn between 0 and that.
 * @property {{max?: number, full?: "refuse_newest" | "drop_oldest"}} [queue] Publishes that may wait for the connection:
 *   100. `full`: who is rejected when there are more.
 * @property {number} [inFlightMax] Publishes sent and not yet answered: 256; more wait in the queue.
 * @property {"memory" | "page" | {take: () => string | null, put: (session: string) => void}} [session] Where the
 *   session's handle is kept. "memory" (default): for as long as this object lives. "page": also over a reload, in
 *   `sessionStorage`, from which it is taken while the page lives: a tab that is duplicated gets a session of its own.
 * @property {Partial<Runtime>} [runtime]
 *
 * @typedef {Object} JoinOptions
 * @property {number} [history] The newest so many messages from before the join. Default: none; of the own inbox (`@` and
 *   our name) the newest page.
 * @property {Position} [since] Everything after this position (a `room.position` that was kept); wins over `history`.
 * @property {boolean} [presence] Keep a list of who is here, and hear who types and who has read how far.
 *
 * @typedef {{event?: string, echo?: boolean, key?: string}} PublishOptions `event`: a name for what it is. `echo`: the
 *   message comes back as everybody sees it; otherwise the receipt is all. `key`: makes it safe to send again, which is
 *   done when the connection is lost before the answer; in a room of values it says which value this is.
 *
 * @typedef {{before?: number, since?: Position, limit?: number}} HistoryOptions The newest before an offset, the oldest
 *   behind a position, or the newest.
 *
 * The server's codes, and ours: `timeout`, `disconnected` (both: it may have been done all the same), `not_connected`,
 * `queue_full`, `closed`, `too_big`, `unencodable`, `left` (none of these was done).
 * @typedef {"malformed" | "unknown_command" | "unsupported" | "bad_room" | "forbidden" | "already_joined" | "not_joined"
 *   | "too_many_rooms" | "unportable" | "too_deep" | "busy" | "too_often" | "too_long" | "room_full" | "key_reused"
 *   | "bad_token" | "other_user" | "timeout" | "disconnected" | "not_connected" | "queue_full" | "closed" | "too_big"
 *   | "unencodable" | "left" | "token" | (string & {})} ErrorCode
 */

/** What went wrong, by `code`; the message is for people. */
export class ThrongError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {{retryAfterMs?: number, cause?: unknown}} [more]
   */
  constructor(code, message, more = {}) {
    const { retryAfterMs, cause } = more;
    super(message);
    this.name = "ThrongError";
    /** @type {ErrorCode} */
    this.code = code;
    /** The server asks to try again, after so many milliseconds. */
    this.retryAfterMs = retryAfterMs;
    /** It may have been done all the same: no answer came. */
    this.indeterminate = code === "timeout" || code === "disconnected";
    if (cause !== undefined) this.cause = cause;
  }
}

/** @type {Codec} Envelopes as text. */
export const json = {
  subprotocol: "throng.v1.json",
  encode: (envelope) => JSON.stringify(envelope),
  decode(data) {
    if (typeof data !== "string") throw new Error("binary where JSON was agreed");
    return JSON.parse(data);
  },
};

/**
 * Envelopes as MessagePack: `msgpack(await import("@msgpack/msgpack"))`, or any other two functions.
 * @param {{encode: (value: any) => Uint8Array, decode: (bytes: Uint8Array) => any}} functions
 * @returns {Codec}
 */
export function msgpack({ encode, decode }) {
  return {
    subprotocol: "throng.v1.msgpack",
    encode: (envelope) =>
      encode(Object.fromEntries(Object.entries(envelope).filter(([, value]) => value !== undefined))),
    decode(data) {
      if (typeof data === "string") throw new Error("text where MessagePack was agreed");
      return decode(data);
    },
  };
}

/**
 * Listeners by the name of an event.
 * @template {Record<string, any>} Events
 */
class Emitter {
  /** @type {Map<keyof Events, Map<(detail: any) => void, boolean>>} Who listens, and whether to the next one only. */
  #listeners = new Map();

  /**
   * Listens; gives a function that stops it.
   * @template {keyof Events} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    return this.#listen(type, listener, false);
  }

  /**
   * Listens to the next one only.
   * @template {keyof Events} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void}
   */
  once(type, listener) {
    return this.#listen(type, listener, true);
  }

  /**
   * Stops it, however it was begun.
   * @template {keyof Events} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   */
  off(type, listener) {
    this.#listeners.get(type)?.delete(listener);
  }

  /**
   * @param {keyof Events} type
   * @param {(detail: any) => void} listener
   * @param {boolean} once
   */
  #listen(type, listener, once) {
    const known = this.#listeners.get(type) ?? new Map();
    this.#listeners.set(type, known.set(listener, once && known.get(listener) !== false));
    return () => this.off(type, listener);
  }

  /**
   * Tells every listener. One that throws is reported to whoever hears uncaught errors, and stops nobody.
   * @internal
   * @template {keyof Events} K
   * @param {K} type
   * @param {Events[K]} detail
   */
  emit(type, detail) {
    const listeners = this.#listeners.get(type);
    if (!listeners?.size) return;
    for (const [listener, once] of [...listeners]) {
      // One before it may have stopped it.
      if (!listeners.has(listener)) continue;
      if (once) listeners.delete(listener);
      try {
        listener(detail);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  }
}

/** @typedef {"idle" | "connecting" | "open" | "waiting" | "closed"} State */

/**
 * One try, and the connection it became. What belongs to an older one is not heard any more.
 * @typedef {{socket: any, welcome: Welcome | null, welcomedAt: number, timer: any}} Link `timer`: of the try; when it
 *   stands, of the next try to refresh.
 */

/**
 * A connection that comes back by itself.
 * @extends {Emitter<ThrongEvents>}
 */
export class Throng extends Emitter {
  #options;
  /** @type {Runtime} */
  #runtime;
  /** @type {Codec} */
  #codec;
  /** @type {State} */
  #state = "idle";
  /** @type {Link | null} */
  #link = null;
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  /** How many of them wait because they were asked for too often. */
  #line = { length: 0 };
  /** @type {Map<number, {done: Done, timer: any}>} Commands that wait for an answer. */
  #pending = new Map();
  /** Numbers commands over all connections. */
  #id = 0;
  #outbox;
  #watch;
  /** Tries since a connection last stood. */
  #attempts = 0;
  /** Doublings of the delay. */
  #doublings = 0;
  #everConnected = false;
  /** Who we are, or were when there last was a connection. */
  #user = "";
  /**
   * Of the last connection: what the next one may go on with.
   * @type {string | null}
   */
  #session = null;
  #onPageHide = () => {
    if (this.#session) this.#options.session.put(this.#session);
  };
  #onPageShow = (/** @type {{persisted?: boolean}} */ { persisted }) => {
    // The page was kept and lives on: nobody else is to go on with its session, and the socket may not have lived.
    if (!persisted) return;
    this.#options.session.take();
    this.#onNetwork();
  };
  #retryTimer = /** @type {any} */ (null);
  /**
   * When the server wants us back, of `drain`.
   * @type {number | null}
   */
  #slotAt = null;
  /** Whether the wait under way is for that. */
  #slotRuns = false;
  /**
   * How the last one ended.
   * @type {{code?: number, reason?: string}}
   */
  #last = {};
  /**
   * Who waits for `connect()`.
   * @type {{promise: Promise<Welcome>, resolve: (w: Welcome) => void, reject: (e: ThrongError) => void} | null}
   */
  #awaited = null;
  #onOnline = () => {
    // The network is back: no use in waiting, except for a time that the server chose.
    if (this.#state === "waiting" && !this.#slotRuns) this.#try();
    this.#onNetwork();
  };
  #onNetwork = () => {
    // It is gone, or it is another: nobody said goodbye on the old one.
    if (this.#state === "open") this.#watch.askNow();
  };

  /** @param {ThrongOptions} [options] */
  constructor(options = {}) {
    super();
    this.#options = {
      token: () => null,
      carrier: "subprotocol",
      requestTimeoutMs: 5_000,
      connectTimeoutMs: 10_000,
      inFlightMax: 256,
      ...options,
      session: storeOf(options.session ?? "memory"),
      backoff: { baseMs: 1_000, maxMs: 5_000, ...options.backoff },
      queue: { max: 100, full: /** @type {"refuse_newest" | "drop_oldest"} */ ("refuse_newest"), ...options.queue },
    };
    this.#codec = options.codec ?? json;
    this.#runtime = {
      WebSocket: globalThis.WebSocket,
      now: () => performance.now(),
      setTimeout: (run, ms) => setTimeout(run, ms),
      clearTimeout: (timer) => clearTimeout(timer),
      random: () => Math.random(),
      ...options.runtime,
    };
    this.#outbox = new Outbox({
      ...this.#options.queue,
      inFlightMax: this.#options.inFlightMax,
      runtime: this.#runtime,
      isOpen: () => this.#state === "open",
      send: (frame, done) => this.#sendFrame(frame, done, this.#options.requestTimeoutMs),
    });
    this.#watch = new Watch({
      runtime: this.#runtime,
      answerMs: this.#options.requestTimeoutMs,
      ask: () => this.#ask("ping", {}, () => {}),
      dead: () => this.#fail(`nothing was heard from the server, not even an answer to a ping`),
    });
  }

  /** @returns {State} `waiting`: for the next try. `closed`: there will be none. */
  get state() {
    return this.#state;
  }

  /** @returns {Welcome | null} What the server said first, while the connection stands. */
  get welcome() {
    return this.#state === "open" && this.#link ? this.#link.welcome : null;
  }

  /** @returns {number} Publishes that wait to be sent. */
  get queued() {
    return this.#outbox.waiting;
  }

  /**
   * Connects, and again whenever the connection is lost, until `close` or a final refusal. While waiting: tries at once.
   * Resolves when a connection stands; rejects when there will be none.
   * @returns {Promise<Welcome>}
   */
  connect() {
    if (this.#state === "open" && this.#link?.welcome) return Promise.resolve(this.#link.welcome);
    const awaited = (this.#awaited ??= deferred());
    if (this.#state !== "connecting") {
      if (this.#state === "idle" || this.#state === "closed") {
        globalThis.addEventListener?.("online", this.#onOnline);
        globalThis.addEventListener?.("offline", this.#onNetwork);
        globalThis.addEventListener?.("pagehide", this.#onPageHide);
        globalThis.addEventListener?.("pageshow", this.#onPageShow);
        this.#session = this.#options.session.take();
      }
      this.#try();
    }
    return awaited.promise;
  }

  /** Ends the connection. What waits is rejected as `closed`; rooms are kept for another `connect`. */
  close() {
    if (this.#state === "closed") return;
    const { socket, stood, tell } = this.#drop(
      new ThrongError(
        "disconnected",
        "The connection was closed before the answer came; it may have been done all the same.",
      ),
    );
    socket?.close(1000);
    this.#end({ code: 1000, reason: "closed here", retryInMs: null, slot: false }, stood);
    tell();
  }

  /**
   * Sits in a room from now on, also after the connection was lost and came back. The same room twice is the same `Room`;
   * the options of the first time hold, and a seat that was refused or taken away is asked for again.
   * @param {string} name
   * @param {JoinOptions} [options]
   * @returns {Room}
   */
  join(name, options = {}) {
    const known = this.#rooms.get(name);
    if (known) {
      if (this.#state === "open") known.enterAgain();
      return known;
    }
    /** @type {Room} */
    const room = new Room(name, options, {
      runtime: this.#runtime,
      isOpen: () => this.#state === "open",
      answerMs: this.#options.requestTimeoutMs,
      line: this.#line,
      ask: (type, fields, done, timeoutMs) => this.#ask(type, fields, done, timeoutMs),
      say: (type, fields) => this.#command(type, fields),
      user: () => this.#user,
      publish: (data, how) => this.publish(name, data, how),
      forget: () => this.#rooms.get(name) === room && this.#rooms.delete(name),
      tell: (type, detail) => this.emit(type, detail),
    });
    this.#rooms.set(name, room);
    if (this.#state === "open") room.enter();
    return room;
  }

  /**
   * Leaves a room. Done at once when there is no connection.
   * @param {string} name
   * @returns {Promise<void>}
   */
  leave(name) {
    return this.#rooms.get(name)?.leave() ?? Promise.resolve();
  }

  /**
   * Says something in a room, joined or not; resolves with its position. Without a connection it waits in the queue; its
   * timeout begins when it is sent. What waited and is refused as `busy` is sent again; what was sent at once is told.
   * @param {string} room
   * @param {any} data
   * @param {PublishOptions} [options]
   * @returns {Promise<Receipt>}
   */
  publish(room, data, options = {}) {
    this.#rooms.get(room)?.said();
    return this.#say("publish", { room }, data, options);
  }

  /**
   * Says something to one user: it lies in their inbox, the room `@` and their name, until they read it. Who wants to
   * read their own joins that room.
   * @param {string} user
   * @param {any} data
   * @param {PublishOptions} [options]
   * @returns {Promise<Receipt>}
   */
  send(user, data, options = {}) {
    return this.#say("send", { user }, data, options);
  }

  /**
   * @param {"publish" | "send"} type
   * @param {{room: string} | {user: string}} to
   * @param {any} data
   * @param {PublishOptions} options
   * @returns {Promise<Receipt>}
   */
  #say(type, to, data, { event, echo, key }) {
    return new Promise((resolve, reject) => {
      if (this.#state === "closed") return reject(new ThrongError("closed", "The connection was closed for good."));
      const frame = this.#encode(type, { ...to, event, key, echo, data });
      if (frame instanceof ThrongError) return reject(frame);
      this.#outbox.put({
        frame,
        patient: false,
        repeatable: key !== undefined,
        done: (error, receipt) => {
          if (error) return reject(error);
          if (!echo && receipt.offset !== undefined) this.#rooms.get(receipt.room)?.receipt(receipt);
          resolve(receipt);
        },
      });
    });
  }

  /**
   * Who is in a room, joined or not.
   * @param {string} room
   * @returns {Promise<FullRoll>}
   */
  presence(room) {
    return this.request("presence", { room }).then(fullRoll);
  }

  /**
   * How much there is to read in a room, joined or not.
   * @param {string} room
   * @returns {Promise<Unread>}
   */
  unread(room) {
    return this.request("unread", { room });
  }

  /**
   * A piece of what was said in a room, joined or not: one page. Ask on with `before` its first message, or `since` its
   * last one.
   * @param {string} room
   * @param {HistoryOptions} [options]
   * @returns {Promise<Page>}
   */
  history(room, options = {}) {
    const { before, since, limit } = options;
    return this.request("history", { room, before, since, limit });
  }

  /**
   * Any command; gives its reply. Rejected as `not_connected` when there is no connection: it does not wait.
   * @param {string} type
   * @param {Record<string, any>} [fields]
   * @returns {Promise<any>}
   */
  request(type, fields = {}) {
    return new Promise((resolve, reject) =>
      this.#ask(type, fields, (error, reply) => (error ? reject(error) : resolve(reply))),
    );
  }

  // From here on: inside.

  async #try() {
    this.#runtime.clearTimeout(this.#retryTimer);
    this.#slotRuns = false;
    this.#state = "connecting";
    /** @type {Link} */
    const link = { socket: null, welcome: null, welcomedAt: 0, timer: null };
    this.#link = link;
    const { connectTimeoutMs } = this.#options;
    link.timer = this.#runtime.setTimeout(
      () => this.#link === link && this.#fail(`not connected within ${connectTimeoutMs} ms`),
      connectTimeoutMs,
    );
    const again = this.#attempts > 0 || this.#everConnected;
    this.#attempts += 1;
    if (again) this.emit("reconnect_attempt", { attempt: this.#attempts });
    if (this.#link !== link) return;
    let url, token;
    try {
      // A callback may answer at once or later.
      token = await this.#options.token({ why: again ? "reconnect" : "connect", ...this.#last });
      url =
        typeof this.#options.url === "function" ? await this.#options.url() : (this.#options.url ?? urlOfThisPage());
    } catch (error) {
      if (this.#link === link) this.#lost({ code: 0, reason: sentence(error), cause: error }, isFinal(error));
      return;
    }
    if (this.#link === link) this.#open(link, url, token);
  }

  /**
   * @param {Link} link
   * @param {string} url
   * @param {string | null | undefined} token
   */
  #open(link, url, token) {
    const { WebSocket } = this.#runtime;
    const early = token && this.#options.carrier === "subprotocol";
    if (early && !TOKEN.test(token)) {
      // A page of an error in its stead, say: the next one may be a token.
      const reason = "what the callback gave is no token: it has characters that none has";
      return this.#lost({ code: 0, reason });
    }
    let socket;
    try {
      if (!WebSocket) {
        const none = "there is no WebSocket here: give one in `runtime` (Node before 22: that of the package ws)";
        throw Object.assign(new Error(none), { final: true });
      }
      socket = new WebSocket(
        url,
        early ? [this.#codec.subprotocol, `throng.token.${token}`] : [this.#codec.subprotocol],
      );
    } catch (error) {
      // An address that cannot be written: a callback may give another the next time.
      const final = isFinal(error) || typeof this.#options.url !== "function";
      return this.#lost({ code: 0, reason: sentence(error), cause: error }, final);
    }
    link.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      if (this.#link === link && token && !early) this.#write(this.#codec.encode({ type: "hello", token }));
    };
    socket.onmessage = (/** @type {{data: any}} */ { data }) => {
      if (this.#link === link) this.#receive(link, typeof data === "string" ? data : new Uint8Array(data));
    };
    // The close that follows says all that may be known.
    socket.onerror = () => {};
    socket.onclose = (/** @type {{code: number, reason: string}} */ { code, reason }) => {
      if (this.#link === link) this.#lost({ code, reason });
    };
  }

  /**
   * @param {Link} link
   * @param {string | Uint8Array} data
   */
  #receive(link, data) {
    this.#watch.heard();
    this.emit("frame", { direction: "in", data });
    // A listener may have closed.
    if (this.#link !== link) return;
    let envelope;
    try {
      envelope = this.#codec.decode(data);
      if (typeof envelope !== "object" || envelope === null) throw new Error("not an envelope");
    } catch (error) {
      return this.#fail(`the server sent what cannot be read: ${sentence(error)}`);
    }
    switch (envelope.type) {
      case "welcome":
        return this.#welcomed(link, envelope);
      case "reply":
        return this.#settle(envelope.id, null, envelope);
      case "error": {
        const error = new ThrongError(envelope.code, envelope.message, { retryAfterMs: envelope.retry_after_ms });
        if (envelope.id === undefined) return this.emit("error", error);
        return this.#settle(envelope.id, error);
      }
      case "expiring":
        this.emit("expiring", envelope);
        return void this.#refresh(link);
      case "drain":
        this.#slotAt = this.#runtime.now() + envelope.reconnect_in_ms;
        return this.emit("drain", envelope);
      case "message":
      case "gap":
      case "joined":
      case "left":
      case "away":
      case "back":
      case "counted":
      case "stale":
      case "typing":
      case "read":
      case "removed": {
        const room = this.#rooms.get(envelope.room);
        if (room) return room.receive(envelope, this.#isSpokenToUs(envelope));
        // Of a seat that was left there may still be something on its way.
        if (this.#isSpokenToUs(envelope)) this.emit("message", envelope);
        return;
      }
      // Of a later version: what is not known is not an error.
    }
  }

  /**
   * Whether it may come without a join: from the backend, to everybody or to us.
   * @param {any} envelope
   */
  #isSpokenToUs({ type, room }) {
    return type === "message" && (room === EVERYBODY || room === `@${this.#user}`);
  }

  /**
   * @param {Link} link
   * @param {Welcome} welcome
   */
  #welcomed(link, welcome) {
    this.#runtime.clearTimeout(link.timer);
    link.welcome = welcome;
    this.#user = welcome.user;
    link.welcomedAt = this.#runtime.now();
    this.#state = "open";
    this.#last = {};
    this.#slotAt = null;
    const [again, attempts] = [this.#everConnected, this.#attempts];
    this.#everConnected = true;
    this.#attempts = 0;
    this.#watch.start(welcome.heartbeat_ms);
    this.#comeBack(welcome);
    this.#outbox.flush();
    // Who listens to frames may have closed.
    if (this.#link !== link) return;
    this.#awaited?.resolve(welcome);
    this.#awaited = null;
    this.emit("connect", { welcome, again });
    if (again && this.#link === link) this.emit("reconnect", { welcome, attempts });
  }

  /**
   * Takes all seats: those of which it is known where they stopped at once, with the session that was lost.
   * @param {Welcome} welcome
   */
  #comeBack(welcome) {
    const session = this.#session;
    this.#session = welcome.session;
    const rooms = [...this.#rooms.values()];
    const back = session ? rooms.filter((room) => room.position).slice(0, welcome.limits?.rooms) : [];
    if (session) this.#resume(session, back);
    // Who listens to frames may have asked for one of them already, or closed.
    for (const room of rooms) if (room.isOut && this.#state === "open") room.enter();
  }

  /**
   * One command for all; each room is answered like a join. Where it is refused as a whole they join one by one.
   * @param {string} session
   * @param {Room[]} back
   */
  #resume(session, back) {
    const entries = back.map((room) => ({ id: (this.#id += 1), room, ...room.comeBack() }));
    const frame = this.#encode("resume", {
      session,
      rooms: entries.map(({ id, fields }) => ({ id, ...fields })),
    });
    const singly = () => entries.forEach(({ id, room }) => this.#pending.delete(id) && room.enter());
    for (const { id, done } of entries) this.#pending.set(id, { done, timer: null });
    if (frame instanceof ThrongError) return singly();
    const done = (/** @type {ThrongError | null} */ error, /** @type {{resumed?: boolean}} */ reply) => {
      // A connection that is lost has told them already.
      if (!error) this.emit("resume", { resumed: reply.resumed === true });
      else if (error.code !== "disconnected") singly();
    };
    this.#sendFrame(frame, done, null);
  }

  /**
   * The token ends: a new one in good time, or the connection would be closed with 4003. What may pass is tried again
   * while this connection stands; a refusal is final, and the next connection asks anew.
   * @param {Link} link
   * @param {number} [doublings]
   */
  async #refresh(link, doublings = 0) {
    const again = (/** @type {ThrongError} */ error) => {
      const delay = error.retryAfterMs ?? this.#delay(doublings);
      this.#runtime.clearTimeout(link.timer);
      link.timer = this.#runtime.setTimeout(() => this.#refresh(link, doublings + 1), delay);
      this.emit("error", error);
    };
    let token;
    try {
      token = await this.#options.token({ why: "expiring" });
    } catch (error) {
      if (this.#link !== link) return;
      const told = new ThrongError("token", `No new token: ${sentence(error)}`, { cause: error });
      return isFinal(error) ? this.emit("error", told) : again(told);
    }
    if (this.#link !== link || !token) return;
    // Those that this very token takes away come behind.
    const without = [...this.#rooms.values()].filter((room) => room.isOut);
    this.#ask("refresh", { token }, (error, reply) => {
      if (this.#link !== link) return;
      if (!error) {
        this.emit("refresh", { reply });
        // It may grant what the one before did not. A listener may have closed.
        if (this.#link === link) for (const room of without) room.enterAgain();
        return;
      }
      if (error.code === "busy" || error.code === "too_often" || error.code === "timeout") again(error);
      else this.emit("error", error);
    });
  }

  /**
   * Ends the connection from this side, to begin again.
   * @param {string} reason
   */
  #fail(reason) {
    const socket = this.#link?.socket;
    this.#lost({ code: 0, reason });
    // The peer may never answer a close: nothing waits for it. If it does read it, 1000 would end the session.
    socket?.close(LOST);
  }

  /**
   * @param {{code: number, reason: string, cause?: unknown}} why
   * @param {boolean} [final]
   */
  #lost(why, final = false) {
    const link = /** @type {Link} */ (this.#link);
    const { stood, tell } = this.#drop(
      new ThrongError(
        "disconnected",
        "The connection was lost before the answer came; it may have been done all the same.",
      ),
    );
    // By range, never by text: 4500 to 4999 do not come back.
    if (final || (why.code >= 4500 && why.code <= 4999)) {
      this.#end({ ...why, retryInMs: null, slot: false }, stood);
      return tell();
    }
    this.#last = { code: why.code, reason: why.reason };
    const now = this.#runtime.now();
    // One that falls as soon as it stands is as bad as one that never stood.
    if (stood && now - link.welcomedAt >= this.#options.backoff.maxMs) this.#doublings = 0;
    const slotInMs = Math.max(0, Math.ceil((this.#slotAt ?? now) - now));
    // "Restart" in our slot or behind it: it has come, and another server may have the address.
    const slot = slotInMs > 0 || (this.#slotAt !== null && stood && why.code === RESTART);
    const retryInMs = slot ? slotInMs : this.#delay(this.#doublings++);
    this.#state = "waiting";
    this.#slotRuns = slot;
    this.#retryTimer = this.#runtime.setTimeout(() => this.#try(), retryInMs);
    this.emit(stood ? "disconnect" : "connect_error", { ...why, retryInMs, slot });
    tell();
  }

  /**
   * There will be no other try.
   * @param {Ended} ended
   * @param {boolean} stood
   */
  #end(ended, stood) {
    this.#runtime.clearTimeout(this.#retryTimer);
    globalThis.removeEventListener?.("online", this.#onOnline);
    globalThis.removeEventListener?.("offline", this.#onNetwork);
    globalThis.removeEventListener?.("pagehide", this.#onPageHide);
    globalThis.removeEventListener?.("pageshow", this.#onPageShow);
    // It is over, or goes on by another socket that is not to be robbed of it.
    this.#session = null;
    this.#state = "closed";
    this.#attempts = 0;
    this.#doublings = 0;
    this.#slotAt = null;
    this.#last = {};
    const error = new ThrongError(
      "closed",
      `The connection was closed for good: ${ended.reason || `code ${ended.code}`}`,
      { cause: ended.cause },
    );
    this.#outbox.rejectAll(error);
    for (const room of this.#rooms.values()) room.ended(error);
    this.#awaited?.reject(error);
    this.#awaited = null;
    // What we ended ourselves before it stood has no event: `close` was called by whoever would hear it.
    if (stood || ended.code !== 1000) this.emit(stood ? "disconnect" : "connect_error", ended);
  }

  /**
   * Lets go of the connection: nothing of it is heard any more, and who waits for an answer is told. `tell` is to be called
   * when it is settled what comes next: a listener may connect or close, and nothing may be done over what it did.
   * @param {ThrongError} error
   */
  #drop(error) {
    const link = this.#link;
    this.#link = null;
    // Nobody is told of a state that is no longer true.
    this.#state = "waiting";
    this.#watch.stop();
    if (link) this.#runtime.clearTimeout(link.timer);
    const tellings = [...this.#rooms.values()].map((room) => room.lost());
    this.#outbox.pause();
    for (const id of [...this.#pending.keys()]) this.#settle(id, error);
    const tell = () => tellings.forEach((tell) => tell());
    return { socket: link?.socket ?? null, stood: Boolean(link?.welcome), tell };
  }

  /**
   * Full jitter: anything between nothing and the doubled delay.
   * @param {number} doublings
   */
  #delay(doublings) {
    const { baseMs, maxMs } = this.#options.backoff;
    return Math.round(this.#runtime.random() * Math.min(maxMs, baseMs * 2 ** Math.min(doublings, 30)));
  }

  /**
   * Sends a command; `done` is called within the very step in which the answer is read, before any message behind it.
   * @param {string} type
   * @param {Record<string, any>} fields
   * @param {Done} done
   * @param {number | null} [timeoutMs] null: an answer counts however late
   */
  #ask(type, fields, done, timeoutMs = this.#options.requestTimeoutMs) {
    if (this.#state !== "open") return done(new ThrongError("not_connected", "There is no connection at the moment."));
    const frame = this.#encode(type, fields);
    if (frame instanceof ThrongError) return done(frame);
    this.#sendFrame(frame, done, timeoutMs);
  }

  /**
   * Sends a command that wants no answer; without a connection it is not sent.
   * @param {string} type
   * @param {Record<string, any>} fields
   */
  #command(type, fields) {
    if (this.#state === "open") this.#write(this.#codec.encode({ type, ...fields }));
  }

  /**
   * @param {string} type
   * @param {Record<string, any>} fields
   * @returns {Frame | ThrongError}
   */
  #encode(type, fields) {
    const id = (this.#id += 1);
    try {
      return { id, data: this.#codec.encode({ type, id, ...fields }) };
    } catch (error) {
      return new ThrongError("unencodable", `This cannot be sent: ${sentence(error)}`, { cause: error });
    }
  }

  /**
   * @param {Frame} frame
   * @param {Done} done
   * @param {number | null} timeoutMs
   */
  #sendFrame({ id, data }, done, timeoutMs) {
    const bytesMax = this.#link?.welcome?.limits?.message_bytes ?? Infinity;
    // The server would close the connection (1009), for everybody who uses it.
    if (exceeds(data, bytesMax)) return done(new ThrongError("too_big", `A command may have ${bytesMax} bytes here.`));
    const late = () =>
      this.#settle(
        id,
        new ThrongError("timeout", "The server did not answer in time; it may have done it all the same."),
      );
    const timer = timeoutMs === null ? null : this.#runtime.setTimeout(late, timeoutMs);
    this.#pending.set(id, { done, timer });
    this.#write(data);
  }

  /** @param {string | Uint8Array} data */
  #write(data) {
    this.#link?.socket.send(data);
    // Behind it: what a listener says now goes behind it, too.
    this.emit("frame", { direction: "out", data });
  }

  /**
   * @param {number} id
   * @param {ThrongError | null} error
   * @param {any} [reply]
   */
  #settle(id, error, reply) {
    const request = this.#pending.get(id);
    if (!request) return;
    this.#pending.delete(id);
    this.#runtime.clearTimeout(request.timer);
    request.done(error, reply);
  }
}

/**
 * A command as bytes or text; encoded when it was given, so that later changes of its data change nothing.
 * @typedef {{id: number, data: string | Uint8Array}} Frame
 * @typedef {(error: ThrongError | null, reply?: any) => void} Done
 * @typedef {{frame: Frame, done: Done, patient: boolean, repeatable: boolean, lost?: ThrongError}} Parcel
 *   `patient`: it waited, and may wait again. `repeatable`: it may be sent twice. `lost`: it was sent, and no answer came.
 */

/**
 * Publishes that wait, in order and bounded; those under way are bounded too. Nothing is sent twice unless the server
 * said that it did not take it, or it has a key by which the server knows it again.
 */
class Outbox {
  #options;
  /** @type {Parcel[]} By id. */
  #waiting = [];
  #inFlight = 0;
  #pauseTimer = /** @type {any} */ (null);
  /**
   * How far apart they are sent since the server said "too often": who sends all of them again is closed for flooding.
   * Null: as fast as it goes.
   * @type {number | null}
   */
  #paceMs = null;

  /**
   * @param {{max: number, full: "refuse_newest" | "drop_oldest", inFlightMax: number, runtime: Runtime,
   *   isOpen: () => boolean, send: (frame: Frame, done: Done) => void}} options
   */
  constructor(options) {
    this.#options = options;
  }

  get waiting() {
    return this.#waiting.length;
  }

  /** @param {Parcel} parcel */
  put(parcel) {
    // Never past those who wait.
    if (this.#waiting.length === 0 && this.#maySend()) return this.#send(parcel);
    const { max, full } = this.#options;
    if (this.#waiting.length >= max) {
      const code = max === 0 && !this.#options.isOpen() ? "not_connected" : "queue_full";
      const error = new ThrongError(
        code,
        max === 0 ? "It cannot be sent now, and nothing may wait." : `More than ${max} messages wait to be sent.`,
      );
      if (max === 0 || full === "refuse_newest") return parcel.done(error);
      const oldest = this.#waiting.shift();
      // What was sent once may have been done.
      oldest?.done(oldest.lost ?? error);
    }
    parcel.patient = true;
    this.#waiting.push(parcel);
  }

  flush() {
    while (this.#waiting.length > 0 && this.#maySend()) {
      const parcel = /** @type {Parcel} */ (this.#waiting.shift());
      if (this.#paceMs !== null) this.#pauseFor(this.#paceMs);
      this.#send(parcel);
    }
    if (this.#waiting.length === 0) this.#paceMs = null;
  }

  /** The connection is gone. */
  pause() {
    this.#options.runtime.clearTimeout(this.#pauseTimer);
    this.#pauseTimer = this.#paceMs = null;
  }

  /** @param {ThrongError} error */
  rejectAll(error) {
    this.pause();
    for (const { done, lost } of this.#waiting.splice(0)) done(lost ?? error);
  }

  #maySend() {
    return this.#options.isOpen() && this.#pauseTimer === null && this.#inFlight < this.#options.inFlightMax;
  }

  /** @param {Parcel} parcel */
  #send(parcel) {
    this.#inFlight += 1;
    this.#options.send(parcel.frame, (error, reply) => {
      this.#inFlight -= 1;
      // Its key says that it is the same when it comes again.
      if (error?.code === "disconnected" && parcel.repeatable) {
        parcel.patient = true;
        parcel.lost = error;
        return this.#putBack(parcel);
      }
      // What waited could not be told that it is too much at once: it waits a little longer, at its place.
      if ((error?.code === "busy" || error?.code === "too_often") && parcel.patient) {
        const afterMs = error.retryAfterMs ?? RETRY_MS;
        if (error.code === "too_often") this.#paceMs = afterMs;
        this.#putBack(parcel);
        return this.#pauseFor(afterMs);
      }
      parcel.done(error, reply);
      this.flush();
    });
  }

  /**
   * At its place.
   * @param {Parcel} parcel
   */
  #putBack(parcel) {
    const place = this.#waiting.findIndex(({ frame }) => frame.id > parcel.frame.id);
    this.#waiting.splice(place < 0 ? this.#waiting.length : place, 0, parcel);
  }

  /** @param {number} ms Unless it pauses already. */
  #pauseFor(ms) {
    if (this.#pauseTimer !== null) return;
    const { runtime } = this.#options;
    this.#pauseTimer = runtime.setTimeout(
      () => {
        this.#pauseTimer = null;
        this.flush();
      },
      later(runtime, ms),
    );
  }
}

/**
 * Whether the server is still there. Its pings are answered by the platform and never seen here: so after a silent
 * interval we ask, and when nothing at all is heard then, the connection is given up.
 */
class Watch {
  #options;
  #intervalMs = 0;
  #heardAt = 0;
  /** Whether an answer is waited for. */
  #asks = false;
  #timer = /** @type {any} */ (null);

  /** @param {{runtime: Runtime, answerMs: number, ask: () => void, dead: () => void}} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {number} [intervalMs] `heartbeat_ms` of `welcome` */
  start(intervalMs = 25_000) {
    this.#intervalMs = intervalMs;
    this.heard();
    this.#listen(intervalMs);
  }

  heard() {
    this.#heardAt = this.#options.runtime.now();
  }

  stop() {
    this.#options.runtime.clearTimeout(this.#timer);
  }

  /** Something may have happened to the network that no socket tells. */
  askNow() {
    if (this.#asks) return;
    this.stop();
    this.#question();
  }

  /** @param {number} ms */
  #listen(ms) {
    const { runtime } = this.#options;
    this.#asks = false;
    this.#timer = runtime.setTimeout(() => {
      const silentMs = runtime.now() - this.#heardAt;
      if (silentMs < this.#intervalMs) this.#listen(this.#intervalMs - silentMs);
      else this.#question();
    }, ms);
  }

  /** @param {boolean} [again] */
  #question(again = false) {
    const { runtime, answerMs, ask, dead } = this.#options;
    const askedAt = runtime.now();
    this.#asks = true;
    this.#timer = runtime.setTimeout(() => {
      if (this.#heardAt >= askedAt)
        return this.#listen(Math.max(0, this.#intervalMs - (runtime.now() - this.#heardAt)));
      // A timer that comes far too late says that we slept, not that the server is dead. One that always does is that of a
      // tab nobody looks at.
      if (!again && runtime.now() - askedAt > 2 * answerMs) return this.#question(true);
      dead();
    }, answerMs);
    ask();
  }
}

/**
 * What a room needs of its connection.
 * @typedef {Object} Core
 * @property {Runtime} runtime
 * @property {() => boolean} isOpen
 * @property {number} answerMs
 * @property {{length: number}} line
 * @property {(type: string, fields: Record<string, any>, done: Done, timeoutMs?: number | null) => void} ask
 * @property {(type: string, fields: Record<string, any>) => void} say
 * @property {() => string} user
 * @property {(data: any, how?: PublishOptions) => Promise<Receipt>} publish
 * @property {() => void} forget
 * @property {<K extends "message" | "gap" | "joined" | "left" | "removed">(type: K, detail: ThrongEvents[K]) => void} tell
 */

/**
 * A seat in a room that is taken again after every loss of the connection, from where it stopped.
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
  #core;
  /** @type {"out" | "asked" | "seated" | "left"} */
  #seat = "out";
  /**
   * Up to here everything was handed out, acked or told as a gap.
   * @type {Position | null}
   */
  #position;
  /** The epoch of the seat; another than the position's until the `gap` that says so. */
  #epoch = "";
  /** The newest message when we sat down. */
  #head = 0;
  /**
   * Own messages beyond the position of which the receipt was had: a replay would give them again.
   * @type {Position[]}
   */
  #receipts = [];
  /**
   * Spoken to us while a seat is asked for that may begin before it and bring it again at its place: kept until the seat
   * shows where it begins.
   * @type {Message[]}
   */
  #held = [];
  /**
   * Spoken to us and handed out without a seat. A seat that brings it again is not heard: it is known by offset and time,
   * since nothing said of which epoch it was.
   * @type {{offset: number, at: number}[]}
   */
  #aside = [];
  #people;
  #joinTimer = /** @type {any} */ (null);
  /** @type {{promise: Promise<JoinReply>, resolve: (r: JoinReply) => void, reject: (e: ThrongError) => void}} */
  #ready = deferred();
  /**
   * What became of `ready`; once it was refused a new one is made when a seat is asked for again.
   * @type {"open" | "given" | "refused"}
   */
  #readiness = "open";
  /** Whether there was a seat before. */
  #hasSat = false;
  #isInLine = false;

  /**
   * @internal
   * @param {string} name
   * @param {JoinOptions} options
   * @param {Core} core
   */
  constructor(name, options, core) {
    super();
    this.name = name;
    this.options = options;
    this.#core = core;
    this.#position = options.since ? { ...options.since } : null;
    this.#people = new People(name, Boolean(options.presence), core, {
      seated: () => this.#seat === "seated",
      tell: (type, detail) => this.emit(type, detail),
    });
  }

  /**
   * The first answer to the join; rejected when it was refused, when the room was left, and when there will be no
   * connection. Where a seat is asked for again after that, another one.
   * @returns {Promise<JoinReply>}
   */
  get ready() {
    return this.#ready.promise;
  }

  /**
   * Whether we sit in the room right now.
   * @returns {boolean}
   */
  get seated() {
    return this.#seat === "seated";
  }

  /**
   * Everything up to here was had. Keep it to begin there another time (`since`).
   * @returns {Position | null}
   */
  get position() {
    return this.#position && { ...this.#position };
  }

  /**
   * With `presence`: who is here, as far as known.
   * @returns {Roll}
   */
  get members() {
    return this.#people.roll;
  }

  /**
   * With `presence`: who types, without ourselves.
   * @returns {Typists}
   */
  get typists() {
    return this.#people.typists;
  }

  /**
   * How far we have read, on any of our connections; 0: nothing is known, or the room does not keep it.
   * @returns {number}
   */
  get readTo() {
    return this.#people.readTo;
  }

  /**
   * Messages that we have not read, our own included.
   * @returns {number}
   */
  get unread() {
    return Math.max(0, Math.max(this.#head, this.#had) - this.#people.readTo);
  }

  /**
   * With `presence`: who has read this message, as far as the server keeps it.
   * @param {number} offset
   * @returns {string[]}
   */
  readBy(offset) {
    return this.#people.readBy(offset);
  }

  /**
   * With `presence`: who has read how far, as far as the server keeps it; ourselves included.
   * @returns {ReadBy[]}
   */
  get reads() {
    return this.#people.reads;
  }

  /**
   * We type, or have stopped. To be called with every key: it is told now and then. What is said ends it by itself.
   * @param {boolean} [on]
   */
  typing(on = true) {
    this.#people.type(on);
  }

  /**
   * We have read up to here (by default: everything that came). To be called as often as one likes: it is told now and
   * then, and only what is new.
   * @param {number} [offset]
   */
  read(offset = this.#had) {
    this.#people.read(offset);
  }

  /**
   * As `Throng.publish`, here.
   * @param {any} data
   * @param {PublishOptions} [options]
   * @returns {Promise<Receipt>}
   */
  publish(data, options) {
    return this.#core.publish(data, options);
  }

  /**
   * Who is here, asked now.
   * @returns {Promise<FullRoll>}
   */
  presence() {
    return new Promise((resolve, reject) => {
      this.#core.ask("presence", { room: this.name }, (error, reply) =>
        error ? reject(error) : resolve(fullRoll(reply)),
      );
    });
  }

  /**
   * As `Throng.history`, here.
   * @param {HistoryOptions} [options]
   * @returns {Promise<Page>}
   */
  history(options = {}) {
    const { before, since, limit } = options;
    return new Promise((resolve, reject) => {
      const fields = { room: this.name, before, since, limit };
      this.#core.ask("history", fields, (error, page) => (error ? reject(error) : resolve(page)));
    });
  }

  /**
   * Leaves for good. Done at once when there is no connection.
   * @returns {Promise<void>}
   */
  leave() {
    const was = this.#seat;
    const tell = this.lost();
    this.#seat = "left";
    this.#core.forget();
    this.#ready.reject(new ThrongError("left", "The room was left before the join was answered."));
    // The seat will not bring it any more.
    this.#release();
    tell();
    if ((was !== "asked" && was !== "seated") || !this.#core.isOpen()) return Promise.resolve();
    const left = new Promise((/** @type {(nothing: void) => void} */ resolve, reject) => {
      // A connection that is lost has left, too; and so has who did not sit.
      const gone = ["not_joined", "disconnected"];
      this.#core.ask("leave", { room: this.name }, (error) =>
        error && !gone.includes(error.code) ? reject(error) : resolve(),
      );
    });
    // Nobody has to wait for it: a late answer is no uncaught error.
    left.catch(() => {});
    return left;
  }

  /**
   * Sits down, from the position if there is one. The answer counts however late: the seat is taken all the same.
   * @internal
   */
  enter() {
    if (this.#seat === "left") return;
    const { history, presence } = this.options;
    const from = this.#position ? { since: { ...this.#position } } : { history };
    this.#core.ask("join", { room: this.name, ...from, presence }, this.#sitDown(), null);
  }

  /**
   * As one of many that are taken again at once: what to ask for, and who hears the answer.
   * @internal
   * @returns {{fields: Record<string, any>, done: Done}}
   */
  comeBack() {
    const fields = { room: this.name, ...this.#position, presence: this.options.presence };
    const given = Object.entries(fields).filter(([, value]) => value !== undefined);
    return { fields: Object.fromEntries(given), done: this.#sitDown() };
  }

  /** @returns {Done} Who hears the answer. */
  #sitDown() {
    const again = this.#position !== null;
    const { runtime, answerMs } = this.#core;
    this.#seat = "asked";
    this.#leaveLine();
    if (this.#readiness === "refused") [this.#ready, this.#readiness] = [deferred(), "open"];
    runtime.clearTimeout(this.#joinTimer);
    this.#joinTimer = runtime.setTimeout(
      () => this.emit("error", new ThrongError("timeout", "The join was not answered in time; it still may be.")),
      answerMs,
    );
    return (error, reply) => {
      runtime.clearTimeout(this.#joinTimer);
      if (this.#seat !== "asked") return;
      if (error) this.#refused(error);
      else this.#seated(reply, again);
    };
  }

  /**
   * Whether the seat was refused or taken away, or there is no connection.
   * @internal
   */
  get isOut() {
    return this.#seat === "out";
  }

  /**
   * Asks for a seat that was refused or taken away; what it asked for may be granted by now.
   * @internal
   */
  enterAgain() {
    if (this.#seat === "out") this.enter();
  }

  /** @param {ThrongError} error */
  #refused(error) {
    if (error.code === "busy" || error.code === "too_often") {
      const { runtime } = this.#core;
      const afterMs = (error.retryAfterMs ?? RETRY_MS) * (error.code === "too_often" ? this.#standInLine() : 1);
      this.#joinTimer = runtime.setTimeout(() => this.enter(), later(runtime, afterMs));
      return;
    }
    this.#seat = "out";
    // The next connection sits down again.
    if (error.code === "disconnected" || error.code === "not_connected") return;
    this.#readiness = "refused";
    this.#ready.reject(error);
    this.emit("error", error);
    // No seat will bring it.
    this.#release();
  }

  /**
   * Rooms that were asked for too often are asked for one after the other: who asks for all of them again is closed for
   * flooding.
   * @returns {number} The place in the line, from 1.
   */
  #standInLine() {
    if (!this.#isInLine) this.#core.line.length += 1;
    this.#isInLine = true;
    return this.#core.line.length;
  }

  #leaveLine() {
    if (this.#isInLine) this.#core.line.length -= 1;
    this.#isInLine = false;
  }

  /**
   * @param {JoinReply} reply
   * @param {boolean} again
   */
  #seated(reply, again) {
    this.#seat = "seated";
    const isSameLife = !again || this.#position?.epoch === reply.epoch;
    this.#epoch = reply.epoch;
    if (!again) {
      // What is lost amid the history is asked for again: so the position begins before it.
      const history = Math.min(this.#historyMax, reply.offset);
      this.#position = { epoch: reply.epoch, offset: reply.offset - history };
      this.#receipts = [];
    }
    const before = this.#sortOut(reply, again);
    this.#head = reply.offset;
    this.#people.enter(reply, isSameLife);
    this.#ready.resolve(reply);
    this.#readiness = "given";
    again = this.#hasSat;
    this.#hasSat = true;
    this.emit("join", { reply, again });
    this.#pass(before);
  }

  /**
   * Gives, of what is held, that which lies before the seat for certain. Of the rest the seat shows by the first that it
   * brings: the server may give less history than was asked for.
   * @param {JoinReply} reply
   * @param {boolean} again
   */
  #sortOut(reply, again) {
    // All of it comes at its place.
    if (again && reply.recovered !== false) this.#held = [];
    const begin = again ? 0 : (this.#position?.offset ?? 0);
    const before = this.#takeHeld(({ offset }) => offset <= begin || offset > reply.offset);
    if (this.#held.length > 0) {
      // The log may have forgotten what we were told: then the seat brings nothing.
      const { runtime, answerMs } = this.#core;
      this.#joinTimer = runtime.setTimeout(() => this.#release(), answerMs);
    }
    return before;
  }

  /** How far everything was had, in the life of the room that we know of. */
  get #had() {
    if (!this.#position) return 0;
    return this.#epoch === "" || this.#epoch === this.#position.epoch ? this.#position.offset : 0;
  }

  /** How many messages from before it a join without a position brings at most, as far as is known here. */
  get #historyMax() {
    // Who says nothing about it is given the newest page of the own inbox, as long as the server likes.
    const isInbox = this.name === `@${this.#core.user()}` && this.name !== EVERYBODY;
    return this.options.history ?? (isInbox ? Infinity : 0);
  }

  /**
   * The connection, or the seat, is gone. Gives a function that tells what follows from that.
   * @internal
   * @returns {() => void}
   */
  lost() {
    this.#core.runtime.clearTimeout(this.#joinTimer);
    this.#leaveLine();
    const tellPeople = this.#people.lost();
    if (this.#seat !== "left") this.#seat = "out";
    return () => {
      // A seat that is taken from a position brings it.
      if (!this.#position) this.#release();
      tellPeople();
    };
  }

  /**
   * There will be no connection.
   * @internal
   * @param {ThrongError} error
   */
  ended(error) {
    if (this.#readiness !== "open") return;
    this.#readiness = "refused";
    this.#ready.reject(error);
  }

  /**
   * Something was said here, which ends our typing for everybody.
   * @internal
   */
  said() {
    this.#people.said();
  }

  /**
   * An envelope of this room.
   * @internal
   * @param {any} envelope
   * @param {boolean} isSpokenToUs it may have come without a join
   */
  receive(envelope, isSpokenToUs) {
    if (this.#seat !== "seated") {
      // Of a seat that was left: the new one begins with its reply.
      if (!isSpokenToUs) return;
      const mayComeAgain = this.#seat === "asked" && (this.#position !== null || this.#historyMax > 0);
      if (!mayComeAgain || envelope.offset === undefined) return this.#pass([envelope]);
      this.#held.push(envelope);
      // So many are not worth their order.
      if (this.#held.length > HELD_MAX) this.#pass(this.#held.splice(0, 1));
      return;
    }
    switch (envelope.type) {
      case "message":
        return this.#hear(envelope);
      case "gap":
        return this.#miss(envelope);
      case "removed": {
        const tell = this.lost();
        this.emit("removed", envelope);
        this.#core.tell("removed", envelope);
        this.#release();
        return tell();
      }
      default:
        return this.#people.receive(envelope);
    }
  }

  /**
   * Something of ours was accepted, and no copy of it will come.
   * @internal
   * @param {Position} receipt
   */
  receipt({ epoch, offset }) {
    if (this.#seat === "left") return;
    this.#receipts.push({ epoch, offset });
    if (this.#receipts.length > RECEIPTS_MAX) this.#receipts.shift();
    this.#advance();
  }

  /** @param {any} message */
  #hear(message) {
    if (message.offset === undefined) {
      // A room that keeps no order: there is nothing to be had twice.
      return this.#tell({ ...message, epoch: this.#epoch });
    }
    if (this.#held.length > 0) {
      // The seat begins here: what lies before does not come again, and the rest does.
      const before = this.#takeHeld(({ offset }) => offset < message.offset);
      this.#held = [];
      this.#core.runtime.clearTimeout(this.#joinTimer);
      this.#pass(before);
      // A listener may have left, or closed.
      if (this.#seat !== "seated") return;
    }
    if (!this.#position || this.#position.epoch !== this.#epoch) this.#position = { epoch: this.#epoch, offset: 0 };
    const { epoch, offset } = this.#position;
    // At least once from the server; once from here.
    if (message.offset <= offset) return;
    this.#position = { epoch, offset: message.offset };
    this.#advance();
    const known = this.#aside.findIndex(({ offset, at }) => offset === message.offset && at === message.at);
    if (known >= 0) return void this.#aside.splice(known, 1);
    this.#tell({ ...message, epoch });
  }

  /**
   * Hands out what was spoken to us beside a seat.
   * @param {Message[]} messages
   */
  #pass(messages) {
    for (const message of messages) {
      const { offset, at } = message;
      if (offset !== undefined && this.#aside.push({ offset, at }) > HELD_MAX) this.#aside.shift();
      this.#tell(message);
    }
  }

  /** Hands out whatever is held: no seat will bring it, or none has. */
  #release() {
    this.#pass(this.#held.splice(0));
  }

  /**
   * @param {(message: Message) => boolean} which
   * @returns {Message[]} Those of what is held; they are not any more.
   */
  #takeHeld(which) {
    const taken = this.#held.filter(which);
    this.#held = this.#held.filter((message) => !taken.includes(message));
    return taken;
  }

  /** @param {Message} message */
  #tell(message) {
    // Who has left listens by the connection only.
    if (this.#seat !== "left") this.emit("message", message);
    this.#core.tell("message", message);
  }

  /** @param {Gap} gap */
  #miss(gap) {
    const { epoch, offset } = this.#position ?? { epoch: "", offset: 0 };
    // The server knows no such position: of another life of the room, or of this one and beyond its end.
    const same = epoch === gap.epoch && gap.why !== "epoch";
    // All of it is known.
    if (same && gap.from <= gap.to && gap.to <= offset) return;
    const before = this.#takeHeld((message) => message.offset <= gap.to && !(same && message.offset <= offset));
    if (this.#epoch !== gap.epoch) {
      this.#people.reborn();
      this.#head = gap.to;
    }
    this.#epoch = gap.epoch;
    this.#position = { epoch: gap.epoch, offset: same ? Math.max(offset, gap.to) : gap.to };
    this.#receipts = this.#receipts.filter((receipt) => receipt.epoch === gap.epoch);
    this.#advance();
    this.#pass(before);
    this.emit("gap", gap);
    this.#core.tell("gap", gap);
    // Beside a gap comings and goings may have been lost too.
    this.#people.doubt();
  }

  /** Own messages that join on without a hole need not be asked for again; those behind the position are no more use. */
  #advance() {
    const position = this.#position;
    if (!position || this.#receipts.length === 0) return;
    this.#receipts.sort((a, b) => a.offset - b.offset);
    this.#receipts = this.#receipts.filter((receipt) => {
      if (receipt.epoch !== position.epoch) return true;
      if (receipt.offset === position.offset + 1) position.offset += 1;
      return receipt.offset > position.offset;
    });
  }
}

/**
 * What a room knows of its people: who is here, who types, who has read how far. A list that may be wrong is asked for
 * again, and not by everybody at the same moment.
 */
class People {
  #room;
  #watches;
  #core;
  #seat;
  /** @type {Map<string, Member>} */
  #members = new Map();
  #count = 0;
  /** Of the last full list, and of the last change. */
  #rollVersion = -1;
  #version = -1;
  /** How long a list the server gives at most, as far as it has shown. */
  #longest = Infinity;
  /** Whether the list is kept true, or only the count. */
  #named = false;
  /** The room tells nothing of who is here. */
  #off = false;
  #rollTimer = /** @type {any} */ (null);
  /** @type {User[]} */
  #typing = [];
  #typingCount = 0;
  #typingTimer = /** @type {any} */ (null);
  /** When we last said that we type; null: we do not. */
  #typedAt = /** @type {number | null} */ (null);
  /** @type {Map<string, number>} */
  #reads = new Map();
  /** How far we have read by our own word, and how far we have told. */
  #readTo = 0;
  #readTold = 0;
  #readTimer = /** @type {any} */ (null);
  #keepsReads = false;

  /**
   * @param {string} room
   * @param {boolean} watches
   * @param {Core} core
   * @param {{seated: () => boolean, tell: <K extends keyof RoomEvents>(type: K, detail: RoomEvents[K]) => void}} seat
   */
  constructor(room, watches, core, seat) {
    this.#room = room;
    this.#watches = watches;
    this.#core = core;
    this.#seat = seat;
  }

  /** @returns {Roll} */
  get roll() {
    const members = [...this.#members.values()].sort((a, b) => (a.user < b.user ? -1 : 1));
    return { members, count: this.#count, version: this.#version };
  }

  /** @returns {Typists} */
  get typists() {
    return { users: [...this.#typing], count: this.#typingCount };
  }

  get readTo() {
    return Math.max(this.#readTo, this.#reads.get(this.#core.user()) ?? 0);
  }

  /** @returns {ReadBy[]} */
  get reads() {
    return [...this.#reads].map(([user, offset]) => ({ user, offset }));
  }

  /** @param {number} offset */
  readBy(offset) {
    return [...this.#reads].filter(([, read]) => read >= offset).map(([user]) => user);
  }

  /**
   * A new seat: everything begins anew.
   * @param {JoinReply} reply
   * @param {boolean} isSameLife of the room, as far as we had a position in one
   */
  enter(reply, isSameLife) {
    this.lost()();
    this.#reads.clear();
    this.#keepsReads = reply.read !== undefined;
    // Another life of the room counts its messages anew, and none of them has been read.
    this.#readTo = isSameLife ? Math.min(this.#readTo, reply.offset) : 0;
    this.#readTold = reply.read ?? 0;
    if (reply.read) this.#reads.set(this.#core.user(), reply.read);
    if (this.#watches) this.#take(reply);
    // What was read while the connection was gone.
    if (this.#readTo > this.#readTold) this.read(this.#readTo);
  }

  /**
   * The seat is gone. Gives a function that tells what follows from that.
   * @returns {() => void}
   */
  lost() {
    const { runtime } = this.#core;
    runtime.clearTimeout(this.#rollTimer);
    runtime.clearTimeout(this.#typingTimer);
    runtime.clearTimeout(this.#readTimer);
    this.#rollTimer = this.#readTimer = this.#typedAt = null;
    const typed = this.#typing.length > 0 || this.#typingCount > 0;
    [this.#typing, this.#typingCount] = [[], 0];
    return () => typed && this.#seat.tell("typing", this.typists);
  }

  /** The room began anew while we sit in it: nothing of it has been read. */
  reborn() {
    this.#core.runtime.clearTimeout(this.#readTimer);
    this.#readTimer = null;
    this.#readTo = this.#readTold = 0;
    this.#reads.clear();
  }

  /**
   * Something may have been left out.
   */
  doubt() {
    if (this.#watches && !this.#off) this.#askRoll(0, () => true);
    else if (this.#keepsReads) this.#askUnread();
  }

  /** @param {any} envelope */
  receive(envelope) {
    switch (envelope.type) {
      case "joined":
      case "left":
      case "away":
      case "back":
        return this.#change(envelope.type, envelope);
      case "counted":
        return this.#recount(envelope);
      case "stale":
        return this.doubt();
      case "typing":
        return this.#typed(envelope);
      case "read":
        return this.#read(envelope.reads);
    }
  }

  /** @param {boolean} on */
  type(on) {
    if (!this.#seat.seated()) return;
    const now = this.#core.runtime.now();
    // Who has not said that they type need not say that they stopped, and who has said so need not say it at every key.
    if (this.#typedAt === null ? !on : on && now - this.#typedAt < TYPING_AGAIN_MS) return;
    this.#typedAt = on ? now : null;
    this.#core.say("typing", { room: this.#room, on });
  }

  /** Something was said, which ends our typing for everybody. */
  said() {
    this.#typedAt = null;
  }

  /** @param {number} offset */
  read(offset) {
    this.#readTo = Math.max(this.#readTo, offset);
    if (!this.#keepsReads || this.#readTimer !== null || !this.#seat.seated() || this.#readTo <= this.#readTold) return;
    const { runtime } = this.#core;
    this.#readTimer = runtime.setTimeout(() => {
      this.#readTimer = null;
      if (this.#readTo <= this.#readTold) return;
      this.#readTold = this.#readTo;
      this.#core.say("read", { room: this.#room, offset: this.#readTo });
    }, READ_TOGETHER_MS);
  }

  /** @param {JoinReply | FullRoll} reply */
  #take({ presence, members, count, version, reads }) {
    this.#off = presence === "off";
    // A server that does not say so names everybody.
    this.#named = (presence ?? "announced") === "announced" && members !== undefined;
    this.#members = new Map((members ?? []).map((member) => [member.user, member]));
    this.#count = count ?? 0;
    this.#rollVersion = this.#version = version ?? 0;
    if (members && members.length < this.#count) this.#longest = members.length;
    for (const { user, offset } of reads ?? []) this.#reads.set(user, offset);
    this.#forgetReads();
    this.#seat.tell("members", this.roll);
    if (reads?.length) this.#seat.tell("read", { reads });
  }

  /**
   * Whether a change is news; asks for the list when something before it was missed.
   * @param {number} version
   */
  #isNext(version) {
    // Known from the full list, or older than what is known. What changed at one moment shares a version.
    if (version <= this.#rollVersion || version < this.#version) return false;
    const missed = version > this.#version + 1;
    this.#version = version;
    if (missed) this.#askRoll(0, () => true);
    return true;
  }

  /**
   * @param {"joined" | "left" | "away" | "back"} type
   * @param {ComeOrGo} change
   */
  #change(type, change) {
    if (!this.#isNext(change.version)) return;
    this.#count = change.count;
    const isNews = (/** @type {User} */ { user }) => {
      const known = this.#members.get(user);
      if (type === "left") return known !== undefined || this.#isCut();
      return known === undefined || (known.connections === 0) !== (type === "away");
    };
    const users = change.users.filter(isNews);
    for (const member of change.users) {
      const known = this.#members.get(member.user);
      if (type === "left") this.#members.delete(member.user);
      else if (type === "away") this.#members.set(member.user, { ...known, ...member, connections: 0 });
      else this.#members.set(member.user, member);
    }
    if (users.length > 0) {
      const detail = { ...change, users };
      this.#seat.tell(type, detail);
      if (type === "joined" || type === "left") this.#core.tell(type, detail);
    }
    this.#seat.tell("members", this.roll);
    // Some were not told; those of the same moment may still come.
    if (this.#isWrong()) this.#askRoll(ROLL_AGAIN_MS, () => this.#isWrong());
  }

  /** Whether the list cannot be right. Where it is cut short, it is only if it names more than are here. */
  #isWrong() {
    const { size } = this.#members;
    return this.#named && (size > this.#count || (size < this.#count && !this.#isCut()));
  }

  /** @param {{count: number, version: number}} change So many are here; who came and went is not told. */
  #recount({ count, version }) {
    if (!this.#isNext(version)) return;
    this.#count = count;
    this.#seat.tell("members", this.roll);
    const wanted = () => !this.#isCut() || this.#isWrong();
    if (this.#named && wanted()) this.#askRoll(ROLL_AGAIN_MS, wanted);
  }

  /** Whether the server would not give the whole list. */
  #isCut() {
    return this.#count > this.#longest;
  }

  /** @param {{users: User[], count: number, ttl_ms: number}} typing */
  #typed({ users, count, ttl_ms }) {
    const own = this.#core.user();
    const others = users.filter(({ user }) => user !== own);
    const { runtime } = this.#core;
    runtime.clearTimeout(this.#typingTimer);
    // What is not told again has ended, though that was not told.
    if (count > 0) this.#typingTimer = runtime.setTimeout(() => this.#type([], 0), ttl_ms);
    this.#type(others, count - (users.length - others.length));
  }

  /**
   * @param {User[]} users
   * @param {number} count
   */
  #type(users, count) {
    const same =
      count === this.#typingCount &&
      users.length === this.#typing.length &&
      users.every(({ user }, n) => user === this.#typing[n].user);
    this.#typing = users;
    this.#typingCount = count;
    if (!same) this.#seat.tell("typing", this.typists);
  }

  /** @param {ReadBy[]} told */
  #read(told) {
    const reads = told.filter(({ user, offset }) => offset > (this.#reads.get(user) ?? 0));
    for (const { user, offset } of reads) this.#reads.set(user, offset);
    this.#forgetReads();
    if (reads.length > 0) this.#seat.tell("read", { reads });
  }

  /** The server forgets those who have read least far, and does not say so; here, too, they are not kept for ever. */
  #forgetReads() {
    if (this.#reads.size <= READS_MAX) return;
    const own = this.#core.user();
    const furthest = [...this.#reads].sort(([one, a], [other, b]) => (one === own ? -1 : other === own ? 1 : b - a));
    this.#reads = new Map(furthest.slice(0, READS_MAX / 2));
  }

  #askUnread() {
    this.#core.ask("unread", { room: this.#room }, (error, reply) => {
      if (!error && this.#seat.seated()) this.#read([{ user: this.#core.user(), offset: reply.read }]);
    });
  }

  /**
   * @param {number} inMs
   * @param {() => boolean} needed whether it still is, by then
   */
  #askRoll(inMs, needed) {
    if (this.#rollTimer !== null) return;
    const { runtime } = this.#core;
    this.#rollTimer = runtime.setTimeout(
      () => {
        if (!needed()) return (this.#rollTimer = null);
        this.#core.ask("presence", { room: this.#room }, (error, roll) => {
          this.#rollTimer = null;
          if (!this.#seat.seated()) return;
          if (!error) return this.#take(roll);
          if (error.code === "busy") return this.#askRoll(error.retryAfterMs ?? ROLL_AGAIN_MS, needed);
          this.#seat.tell(
            "error",
            new ThrongError(error.code, `Who is here is uncertain: ${error.message}`, { cause: error }),
          );
        });
      },
      later(runtime, inMs),
    );
  }
}

/**
 * An answer to "who is there", with empty places where the room tells nothing.
 * @param {any} reply
 * @returns {FullRoll}
 */
function fullRoll({ presence, members = [], count = 0, version = 0, reads }) {
  return { presence, members, count, version, reads };
}

/** How we close what we take for dead: a code of ours, so that the session may be resumed if it was alive after all. */
const LOST = 4900;
/** The close code of a server that is being replaced. */
const RESTART = 1012;
/** What may stand in a subprotocol (RFC 9110, 5.6.2: a token). */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Until something is asked again that was refused without a time to wait. */
const RETRY_MS = 1_000;
/** The room of the backend's words to everybody. */
const EVERYBODY = "@all";
/** Messages that wait for a seat to show where it begins, and those remembered that were handed out without one. */
const HELD_MAX = 100;
/** Users of whom it is remembered how far they have read; beyond it half of them are forgotten. */
const READS_MAX = 10_000;
/** Receipts kept of own messages between which somebody else's are missing still. */
const RECEIPTS_MAX = 1_024;
/** While somebody types it is said so often; the server forgets it a little later. */
const TYPING_AGAIN_MS = 2_000;
/** What is read within this time is told in one. */
const READ_TOGETHER_MS = 250;
/** Until a list that does not fit its count is asked for again. */
const ROLL_AGAIN_MS = 1_000;

/**
 * Not before, and not everybody at the same moment.
 * @param {Runtime} runtime
 * @param {number} ms
 */
function later(runtime, ms) {
  return Math.round(ms * (1 + runtime.random()));
}

/** @returns {any} A promise and its ends; a rejection nobody waits for is no uncaught error. */
function deferred() {
  /** @type {any} */
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  ends.promise.catch(() => {});
  return ends;
}

/**
 * @param {"memory" | "page" | {take: () => string | null, put: (session: string) => void}} session
 * @returns {{take: () => string | null, put: (session: string) => void}}
 */
function storeOf(session) {
  if (typeof session === "object") return session;
  const storage = session === "page" ? storageOfThisPage() : null;
  return {
    take() {
      const kept = storage?.getItem(STORED) ?? null;
      storage?.removeItem(STORED);
      return kept;
    },
    put: (handle) => storage?.setItem(STORED, handle),
  };
}

const STORED = "throng.session";

/** @returns {Storage | null} Browsers that are told to keep nothing throw at the mere question. */
function storageOfThisPage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

function urlOfThisPage() {
  if (!globalThis.location?.href)
    throw Object.assign(new Error("there is no page whose host could be taken: give `url`"), { final: true });
  const url = new URL("/ws", globalThis.location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/**
 * Whether it has more bytes than that, as UTF-8.
 * @param {string | Uint8Array} data
 * @param {number} bytesMax
 */
function exceeds(data, bytesMax) {
  if (typeof data !== "string") return data.byteLength > bytesMax;
  // One UTF-16 unit takes one to three bytes.
  if (data.length > bytesMax) return true;
  return data.length * 3 > bytesMax && new TextEncoder().encode(data).byteLength > bytesMax;
}

/** @param {unknown} error */
function sentence(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {unknown} error */
function isFinal(error) {
  return typeof error === "object" && error !== null && /** @type {{final?: unknown}} */ (error).final === true;
}
