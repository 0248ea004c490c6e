// The page: who is here, what was said, and each frame as it came. All text of others goes through `textContent`, so
// that markup is shown and never becomes part of the page.
import { Throng } from "/throng.js";

const MESSAGES_MAX = 500;
const FRAMES_MAX = 200;
const FRAME_CHARACTERS_MAX = 4_000;
const EXPIRED = 4003;
const ANOTHER = "Make another: throng token --user U. Or open this page without #token=, and the server gives one.";
const ENDS = {
  [EXPIRED]: ["The token has expired", ANOTHER],
  4500: ["Not welcome any more", ANOTHER],
  4501: ["This user is shut out", "Whoever runs the server can change that."],
  4502: ["Another connection took over", "Go on there, or load this page again."],
  4503: ["The token was not accepted", ANOTHER],
  4504: ["Pages from here may not connect", `Whoever runs the server can allow the origin ${location.origin}.`],
  4505: ["The server speaks another version", "Load this page again."],
};

const PLACEHOLDERS = {
  open: (user) => `Say something as ${user}`,
  closed: () => "The connection is closed: see above.",
};

const query = new URLSearchParams(location.search);
const user = query.get("user")?.trim();
const room = query.get("room")?.trim() || "lobby";
const byId = (id) => document.getElementById(id);

if (user) talk();
else arrive();

function show(template) {
  document.body.append(byId(template).content.cloneNode(true));
  document.querySelector("[autofocus]")?.focus();
}

function arrive() {
  show("arrive");
  document.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    location.search = new URLSearchParams(new FormData(event.target));
  });
}

function talk() {
  show("talk");
  document.title = `${room} · ${user} · throng`;
  byId("room").textContent = room;
  const other = user === "bob" ? "ann" : "bob";
  byId("another").textContent = `Come in as ${other} in another tab`;
  byId("another").href = `/?${new URLSearchParams({ user: other, room })}`;

  // A page that is loaded again goes on with its session: nobody sees it leave.
  const throng = new Throng({ token, session: "page" });
  const seat = throng.join(room, { history: 50, presence: true });
  showState("connecting", "connecting…");
  throng.on("connect", ({ welcome }) => showState("open", `connected to ${welcome.node}`));
  throng.on("disconnect", showEnd);
  throng.on("connect_error", showEnd);
  throng.on("reconnect_attempt", () => showState("connecting", "connecting…"));
  throng.on("frame", showFrame);
  throng.on("error", ({ message }) => showProblem(message));
  seat.on("message", (message) => {
    showMessage(message);
    showReads(seat);
    readIfSeen(seat);
  });
  document.addEventListener("visibilitychange", () => readIfSeen(seat));
  // What the backend says to everybody, or to this user, comes without a join.
  throng.on("message", (message) => message.room !== room && showMessage(message));
  seat.on("gap", (gap) => showNote(gapSentence(gap), "gap"));
  seat.on("members", showMembers);
  seat.on("typing", showTyping);
  seat.on("read", () => showReads(seat));
  seat.on("joined", ({ users }) => showNote(`${names(users)} came in`));
  seat.on("left", ({ users }) => showNote(`${names(users)} left`));
  seat.on("removed", () => showProblem("Not in the room any more: what this user may do was narrowed."));
  seat.on("error", ({ message }) => showProblem(`Not in the room: ${message}`));
  seat.on("join", ({ again }) => {
    hideProblem();
    if (again) showNote("Back in the room.");
    readIfSeen(seat);
  });
  byId("text").addEventListener("input", ({ target }) => seat.typing(target.value !== ""));
  byId("say").addEventListener("submit", (event) => {
    event.preventDefault();
    say(seat);
  });
  byId("clear").addEventListener("click", () => byId("frame-list").replaceChildren());
  byId("frames-toggle").addEventListener("click", toggleFrames);
  if (matchMedia("(max-width: 900px)").matches) toggleFrames();
  throng.connect();
}

/** From the address (`#token=…`), else one of those the server gives to its own host under --dev. */
async function token({ why, code, reason }) {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    // There is no other: what has expired would be refused for ever.
    if (code === EXPIRED) throw Object.assign(new Error(endSentence(code, reason)), { final: true });
    return why === "expiring" ? null : given;
  }
  const answer = await fetch(`/dev/token?${new URLSearchParams({ user })}`);
  const body = await answer.json();
  if (answer.ok) return body.token;
  throw Object.assign(new Error(body.message), { final: answer.status < 500 });
}

async function say(seat) {
  const input = byId("text");
  const text = input.value;
  if (!text) return;
  input.value = "";
  try {
    await seat.publish({ text }, { echo: true });
    hideProblem();
  } catch (problem) {
    // What was typed meanwhile is not thrown away, and what was not said can be said again.
    if (!input.value) input.value = text;
    showProblem(`Not said: ${problem.message}`);
  }
}

function showState(state, sentence, more = "") {
  const pill = byId("state");
  pill.title = more;
  pill.dataset.state = state;
  pill.textContent = sentence;
  byId("say").querySelector("button").disabled = state !== "open";
  byId("text").placeholder = PLACEHOLDERS[state]?.(user) ?? "Waiting for the connection…";
}

/** A connection, or a try, ended. */
function showEnd({ code, reason, retryInMs }) {
  byId("members").classList.add("stale");
  if (retryInMs !== null) return showState("waiting", `lost; again in ${(retryInMs / 1000).toFixed(1)} s`, reason);
  showState("closed", "closed");
  // What was decided here already is a sentence.
  showProblem(code === 0 ? reason : endSentence(code, reason));
}

/** Why the server ended it, in its own words, and what a person can do. The range decides, the words only explain. */
function endSentence(code, reason) {
  const [what, advice] = ENDS[code] ?? ["The server will not have us back", ""];
  return `${what}: ${reason || "it gave no reason"} (${code}). ${advice}`.trim();
}

function showMembers({ members, count }) {
  byId("count").textContent = count;
  byId("members").classList.remove("stale");
  const rows = members.map((member) => {
    const row = element("li");
    row.append(avatar(member.user), element("span", "name", displayName(member)));
    if (member.user === user) row.append(element("span", "hint", "you"));
    // The last connection was lost a moment ago.
    if (member.connections === 0) {
      row.classList.add("away");
      row.append(element("span", "hint", "away"));
    }
    return row;
  });
  if (count > members.length) rows.push(element("li", "hint", `and ${count - members.length} more`));
  byId("members").replaceChildren(...rows);
}

function showTyping({ users, count }) {
  const listed = users.slice(0, 3).map(displayName).join(", ");
  const more = count > Math.min(users.length, 3) ? ` and ${count - Math.min(users.length, 3)} more` : "";
  byId("typing").textContent = count === 0 ? "" : `${listed}${more} ${count === 1 ? "is" : "are"} typing…`;
}

/** Everybody's letter stands at the last message they have read. */
function showReads(seat) {
  for (const readers of document.querySelectorAll(".readers")) readers.remove();
  // Offsets of another room, or of this one before it began anew, say nothing here.
  const isOfHere = (row) => row.dataset.epoch !== undefined && row.dataset.epoch === seat.position?.epoch;
  const rows = [...document.querySelectorAll("#messages .message")].filter(isOfHere).reverse();
  for (const { user: reader, offset } of seat.reads) {
    const row = reader === user ? undefined : rows.find((row) => Number(row.dataset.offset) <= offset);
    if (!row) continue;
    const bubble = row.querySelector(".bubble");
    const readers = bubble.querySelector(".readers") ?? bubble.appendChild(element("div", "readers"));
    const letter = avatar(reader);
    letter.title = `read by ${reader}`;
    readers.append(letter);
  }
}

/** What is shown to somebody who looks has been read; what is not stands in the title. */
function readIfSeen(seat) {
  if (document.visibilityState === "visible") seat.read();
  document.title = `${seat.unread > 0 ? `(${seat.unread}) ` : ""}${room} · ${user} · throng`;
}

function showMessage({ room: where, epoch, from, at, offset, event, data }) {
  const row = element("li", from.user === user ? "message mine" : "message");
  const head = element("div", "head");
  head.append(element("span", "name", displayName(from)), element("time", "hint", clock(at)));
  if (event) head.append(element("span", "hint", event));
  if (where !== room) head.append(element("span", "hint", where === "@all" ? "to everybody" : "to you"));
  const text = typeof data === "string" ? data : typeof data?.text === "string" ? data.text : JSON.stringify(data);
  const bubble = element("div", "bubble");
  bubble.append(head, element("div", "text", text));
  if (offset !== undefined) row.title = `offset ${offset}`;
  if (offset !== undefined && where === room && epoch) Object.assign(row.dataset, { epoch, offset });
  row.append(avatar(from.user), bubble);
  append(byId("messages"), row, MESSAGES_MAX);
}

function showNote(sentence, kind = "") {
  append(byId("messages"), element("li", `note ${kind}`, sentence), MESSAGES_MAX);
}

function gapSentence({ from, to, why }) {
  const missing = to < from ? "Perhaps something" : to === from ? "One message" : `${to - from + 1} messages`;
  const because = {
    retention: "the server keeps only the newest, and these are gone",
    slow: "this tab was too slow to take them",
    epoch: "the room began anew while we were away",
    unknown: "nobody knows how far we had read",
  }[why];
  return `${missing} cannot be shown: ${because ?? why}.`;
}

function showFrame({ direction, data: text }) {
  const row = element("li", direction);
  const envelope = parsed(text);
  const head = element("div", "head");
  head.append(
    element("span", "arrow", direction === "in" ? "↓" : "↑"),
    element("span", "type", envelope?.type ?? "?"),
    element("time", "hint", clock(Date.now())),
    element("span", "hint", `${new Blob([text]).size} B`),
  );
  const pretty = envelope === undefined ? text : JSON.stringify(envelope, null, 2);
  const shown = pretty.length > FRAME_CHARACTERS_MAX ? `${pretty.slice(0, FRAME_CHARACTERS_MAX)}\n… cut here` : pretty;
  row.append(head, element("pre", "", shown));
  append(byId("frame-list"), row, FRAMES_MAX);
}

function toggleFrames() {
  const hidden = byId("frames").toggleAttribute("hidden");
  byId("frames-toggle").setAttribute("aria-expanded", String(!hidden));
}

function showProblem(sentence) {
  // It takes its place from the conversation, whose end is to be seen all the same.
  following(byId("messages"), () => {
    byId("problem").textContent = sentence;
    byId("problem").hidden = false;
  });
}

function hideProblem() {
  byId("problem").hidden = true;
}

/** Adds at the end and forgets the oldest. */
function append(list, row, rowsMax) {
  following(list, () => {
    list.append(row);
    while (list.childElementCount > rowsMax) list.firstElementChild.remove();
  });
}

/** Changes something, and follows only a reader who is at the end. */
function following(list, change) {
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  change();
  if (follows) list.scrollTop = list.scrollHeight;
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A letter on one of eight colours that is always the same for a name. */
function avatar(name) {
  const made = element("span", "avatar", [...name][0].toUpperCase());
  made.dataset.colour = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 8, 0);
  made.ariaHidden = "true";
  return made;
}

function displayName({ user, info }) {
  const name = typeof info?.name === "string" && info.name !== user ? info.name : "";
  return name ? `${name} (${user})` : user;
}

function names(users) {
  const listed = users.slice(0, 3).map(displayName).join(", ");
  return users.length > 3 ? `${listed} and ${users.length - 3} more` : listed;
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
