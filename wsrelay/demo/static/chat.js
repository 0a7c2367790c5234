"use strict";

// The server sends {"topic": …, "data": …}: "room" (you are in), "people" (who is there, and what
// changed), "said", "refused". The page sends {"say": text} and {"move": room}.

const $ = (id) => document.getElementById(id);
const FIRST_WAIT = 500; // milliseconds before the first try to connect again
const LONGEST_WAIT = 15000;
const STABLE = 5000; // a connection this old counts as good: the next wait is short again
const LINES = 500; // kept in the log

const me = { name: "", room: "", pid: "", connects: 0, rooms: 0 };
let socket = null;
let entering = false; // the next "people" tells of myself
let tries = 0;
let timer = 0;

// -- the connection -----------------------------------------------------------------------------

function connect() {
  clearInterval(timer);
  $("retry").hidden = true;
  status("off", "Connecting …");
  const address = new URL(`/ws/${encodeURIComponent(me.room)}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.searchParams.set("name", me.name);
  let opened = 0;
  socket = new WebSocket(address);
  socket.onopen = () => { opened = Date.now(); me.connects += 1; me.rooms = 0; };
  socket.onmessage = (event) => {
    const { topic, data } = JSON.parse(event.data);
    on[topic]?.(data);
  };
  socket.onclose = ({ code, reason }) => {
    if (opened && Date.now() - opened > STABLE) tries = 0;
    closed(code, reason);
  };
}

function closed(code, reason) {
  const why = `Closed: ${code}${reason ? `, ${reason}` : code === 1006 ? ", no connection" : ""}`;
  status("closed", why);
  enable(false);
  const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries) * (0.75 + Math.random() / 2);
  const due = Date.now() + wait;
  tries += 1;
  $("retry").hidden = false;
  const tick = () => {
    const left = due - Date.now();
    $("countdown").textContent = `Again in ${Math.max(1, Math.ceil(left / 1000))} s`;
    if (left <= 0) connect();
  };
  timer = setInterval(tick, 200);
  tick();
  if ($("log").lastChild?.textContent !== why) notice(why);
}

const on = {
  room({ name, pid }) {
    const moved = pid === me.pid;
    Object.assign(me, { room: name, pid });
    me.rooms += 1;
    entering = true;
    status("on", "Connected");
    notice(moved ? `You moved to ${name}, on the same connection` : `You are in ${name}`, "moved");
    show();
  },
  people({ there, what, who }) {
    $("count").textContent = `(${there.length})`;
    $("people").replaceChildren(...there.map(person));
    if (!entering) notice(`${who} ${what}`);
    entering = false;
  },
  said({ who, pid, text }) {
    const line = document.createElement("li");
    const head = document.createElement("b");
    const time = document.createElement("time");
    head.textContent = who;
    head.style.setProperty("--hue", hue(who));
    time.textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    head.append(time);
    line.className = pid === me.pid ? "said mine" : "said";
    line.append(head, text);
    add(line);
  },
  refused() {
    notice("The server did not take that");
  },
};

// -- what is seen; texts of others only ever become text nodes -------------------------------------

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function show() {
  document.title = `${me.room} · wsrelay chat`;
  history.replaceState(null, "", `#room=${encodeURIComponent(me.room)}`);
  $("title").textContent = me.room;
  $("pid").textContent = me.pid;
  $("connects").textContent = me.connects === 1 ? "once" : `${me.connects} times`;
  $("rooms-seen").textContent = me.rooms;
  enable(true);
  if ($("chat").hidden) {
    $("welcome").hidden = true;
    $("chat").hidden = false;
    $("text").focus();
  }
}

function enable(yes) {
  for (const button of document.querySelectorAll("#chat button")) button.disabled = !yes;
}

function notice(text, kind = "") {
  const line = document.createElement("li");
  line.className = `notice ${kind}`;
  line.textContent = text;
  add(line);
}

function add(line) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(line);
  if (log.childElementCount > LINES) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function person(name) {
  const line = document.createElement("li");
  const face = document.createElement("span");
  face.className = "face";
  face.ariaHidden = "true";
  face.textContent = [...name][0].toUpperCase();
  face.style.setProperty("--hue", hue(name));
  line.append(face, name);
  return line;
}

function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

// -- what the user does -------------------------------------------------------------------------

function onSubmit(form, act) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

function send(wish) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
}

onSubmit("join", () => {
  me.name = $("name").value.trim();
  me.room = $("room").value.trim();
  if (socket === null || socket.readyState === WebSocket.CLOSED) connect();
});
onSubmit("say", () => {
  if ($("text").value.trim()) send({ say: $("text").value });
  $("text").value = "";
});
onSubmit("move", () => {
  send({ move: $("next").value.trim() });
  $("next").value = "";
  $("text").focus();
});
$("now").addEventListener("click", connect);
addEventListener("online", () => { if (!$("retry").hidden) connect(); });
$("wire").open = matchMedia("(min-width: 44.01rem)").matches;
$("room").value = new URLSearchParams(location.hash.slice(1)).get("room") ?? "tea";
