// A world of our own for the client: a clock that moves when told to, sockets whose other end is the test, and chance
// that is not. Nothing here waits for real time.
import { Throng } from "../throng.js";

/** Lets every promise that can go on go on. */
export async function settle() {
  for (let turns = 0; turns < 50; turns += 1) await Promise.resolve();
}

export class Clock {
  #now = 0;
  #next = 1;
  #timers = new Map();

  now = () => this.#now;

  setTimeout = (run, ms) => {
    const timer = this.#next++;
    this.#timers.set(timer, { at: this.#now + ms, timer, run });
    return timer;
  };

  clearTimeout = (timer) => {
    this.#timers.delete(timer);
  };

  /** Timers that wait. */
  get waiting() {
    return this.#timers.size;
  }

  /** Goes on by so much; everything that falls due on the way runs at its time, in order. */
  async advance(ms) {
    const until = this.#now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers.values()]
        .filter(({ at }) => at <= until)
        .sort((a, b) => a.at - b.at || a.timer - b.timer)[0];
      if (!due) break;
      this.#now = Math.max(this.#now, due.at);
      this.#timers.delete(due.timer);
      due.run();
      await settle();
    }
    this.#now = until;
  }

  /** Time passed and no timer ran: the machine slept. Those overdue run when it wakes. */
  async sleep(ms) {
    this.#now += ms;
    await this.advance(0);
  }
}

export const WELCOME = {
  type: "welcome",
  session: "0a0b0c",
  resumed: false,
  user: "ann",
  node: "n1",
  heartbeat_ms: 25_000,
  limits: { message_bytes: 1_000_000, rooms: 128, depth: 32 },
};

export const EPOCH = "00abcdef01234567";
export const OTHER_EPOCH = "ffabcdef01234567";

const EVENTS = [
  "connect",
  "disconnect",
  "connect_error",
  "reconnect_attempt",
  "reconnect",
  "message",
  "gap",
  "joined",
  "left",
];
const MORE_EVENTS = ["removed", "error", "expiring", "refresh", "drain", "resume"];

/** A client in a world of its own. `random` may be set; `events` is what was told, in order. */
export function world(options = {}) {
  const clock = new Clock();
  const sockets = [];

  class Socket {
    sent = [];
    closedWith = null;

    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      sockets.push(this);
    }

    // The client's side.
    send(data) {
      this.sent.push(typeof data === "string" ? JSON.parse(data) : data);
    }
    close(code, reason) {
      this.closedWith = { code, reason };
    }

    // The server's side.
    open() {
      this.onopen?.({});
    }
    say(envelope) {
      this.onmessage({ data: JSON.stringify(envelope) });
    }
    /** Opens and greets. */
    welcome(more = {}) {
      this.open();
      this.say({ ...WELCOME, ...more });
    }
    end(code, reason = "") {
      this.onclose({ code, reason });
    }
    /** What was sent of this type; a room of a `resume` is a join. */
    of(type) {
      return this.sent.flatMap((envelope) => {
        if (type !== "join" || envelope.type !== "resume") return envelope.type === type ? [envelope] : [];
        return envelope.rooms.map(({ epoch, offset, ...rest }) => ({ type, ...rest, since: { epoch, offset } }));
      });
    }
    /** Answers the newest command of this type. */
    reply(type, fields = {}) {
      this.say({ type: "reply", id: this.of(type).at(-1).id, ...fields });
    }
    refuse(type, code, more = {}) {
      this.say({ type: "error", id: this.of(type).at(-1).id, code, message: `it is ${code}`, ...more });
    }
    /** Answers the newest join. */
    seat(offset, more = {}) {
      const { room } = this.of("join").at(-1);
      this.reply("join", { room, epoch: EPOCH, offset, ...more });
    }
    message(offset, room = "lobby", more = {}) {
      this.say({
        type: "message",
        room,
        offset,
        at: 1_700_000_000_123,
        from: { user: "bob" },
        data: `m${offset}`,
        ...more,
      });
    }
  }

  const it = {
    clock,
    sockets,
    events: [],
    random: 0.5,
    /** The newest socket. */
    get socket() {
      return sockets.at(-1);
    },
    told(type) {
      return it.events.filter(([name]) => name === type).map(([, detail]) => detail);
    },
  };
  const runtime = {
    WebSocket: Socket,
    now: clock.now,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    random: () => it.random,
  };
  it.throng = new Throng({
    url: "ws://server/ws",
    token: () => "jwt",
    ...options,
    runtime: { ...runtime, ...options.runtime },
  });
  for (const type of [...EVENTS, ...MORE_EVENTS]) it.throng.on(type, (detail) => it.events.push([type, detail]));
  return it;
}

/** A world whose connection stands. */
export async function connected(options) {
  const it = world(options);
  it.throng.connect();
  await settle();
  it.socket.welcome();
  await settle();
  return it;
}

/** The connection is lost; the next one stands, and that is its socket. */
export async function lostAndBack(it, code = 1006) {
  it.socket.end(code);
  await it.clock.advance(5_000);
  it.socket.welcome();
  await settle();
  return it.socket;
}

/** What became of a promise: `{value}`, `{error}` or undefined while it waits. */
export function outcome(promise) {
  const became = {};
  promise.then(
    (value) => Object.assign(became, { value }),
    (error) => Object.assign(became, { error }),
  );
  return became;
}

/** They type in the lobby. */
export const typing = (...users) => ({
  type: "typing",
  room: "lobby",
  users: users.map((user) => ({ user })),
  count: users.length,
  ttl_ms: 10_000,
});
