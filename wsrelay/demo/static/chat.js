"use strict";

// The server sends {"topic": …, "data": …}: "room" (you are in), "people" (who is there, and what
// changed), "said", "typing", "event" (what a process saw or did), "refused". The page sends
// {"say": text}, {"typing": true or false}, {"move": room} and {"kill": true}.

const TYPING_AGAIN = 2500; // milliseconds until it is told again that I type
const TYPING_ENDS = 4000; // for others, if they don't hear of it again

const me = { name: "", room: "", pid: "", process: "", connects: 0, rooms: 0 };
const typing = new Map(); // PID → {who, timer}
let entering = false; // the next "people" tells of myself
let toldTyping = 0; // when I last told that I type

// -- the connection -----------------------------------------------------------------------------

const connection = new Connection(address, {
  open() {
    me.connects += 1;
    me.rooms = 0;
    $("retry").hidden = true;
    showEvent("open", "browser", "", "WebSocket connected");
  },
  message({ topic, data }) {
    on[topic]?.(data);
  },
  close(code, reason, wait) {
    const why = `${code}${reason ? `, ${reason}` : code === 1006 ? ", no connection" : ""}`;
    showStatus("closed", `Closed: ${code}`);
    showEvent("close", "browser", "", `${why}; again in ${(wait / 1000).toFixed(1)} s`, me.pid);
    $("why").textContent = `The connection closed: ${why}.`;
    $("retry").hidden = false;
    enable(false);
    for (const pid of [...typing.keys()]) stopped(pid);
    me.pid = "";
  },
  wait(left) {
    $("countdown").textContent = `Again in ${Math.max(1, Math.ceil(left / 1000))}\u00a0s.`;
  },
});

function address() {
  const url = new URL(`/ws/${encodeURIComponent(me.room)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("name", me.name);
  showStatus("off", "Connecting …");
  return url;
}

const on = {
  room({ name, process, pid, lines }) {
    const moved = pid === me.pid;
    const reborn = name === me.room && me.process && process !== me.process;
    Object.assign(me, { room: name, process, pid });
    me.rooms += 1;
    entering = true;
    $("log").ariaBusy = "true"; // old lines are not read out
    $("log").replaceChildren();
    for (const line of lines) showLine(line, line.pid === me.pid);
    $("log").ariaBusy = "false";
    if (reborn) showNotice("The room is a new process: what was said is gone", "bad");
    showNotice(moved ? `You moved to ${name}, on the same connection` : `You are in ${name}`, "moved");
    for (const each of [...typing.keys()]) stopped(each);
    showPlace();
  },
  people({ there, what, who }) {
    showPeople(there);
    if (!entering) showNotice(`${who} ${what}`);
    entering = false;
  },
  said(line) {
    stopped(line.pid);
    showLine(line, line.pid === me.pid);
  },
  typing({ who, pid, on: types }) {
    stopped(pid);
    if (types) typing.set(pid, { who, timer: setTimeout(stopped, TYPING_ENDS, pid) });
    showTyping([...typing.values()].map((each) => each.who));
  },
  event({ kind, by, who, note, pid, to }) {
    showEvent(kind, by, who, note, pid, to);
  },
  refused({ why }) {
    showNotice(`The server did not take that: ${why}`, "bad");
  },
};

function stopped(pid) {
  clearTimeout(typing.get(pid)?.timer);
  if (typing.delete(pid)) showTyping([...typing.values()].map((each) => each.who));
}

function showPlace() {
  showStatus("on", "Connected");
  document.title = `${me.room} · wsrelay chat`;
  history.replaceState(null, "", `#room=${encodeURIComponent(me.room)}`);
  $("title").textContent = me.room;
  $("subtitle").textContent = `You are ${me.name}`;
  $("pid").replaceChildren(...broken(me.pid));
  $("process").replaceChildren(...broken(me.process));
  $("connects").textContent = me.connects === 1 ? "once" : `${me.connects} times`;
  $("rooms-seen").textContent = me.rooms;
  enable(true);
  if ($("chat").hidden) {
    $("welcome").hidden = true;
    $("chat").hidden = false;
    $("text").focus();
  }
}

// -- what the user does -------------------------------------------------------------------------

function onSubmit(form, act) {
  $(form).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}

onSubmit("join", () => {
  me.name = $("name").value.trim();
  me.room = $("room").value.trim();
  connection.connect();
});
onSubmit("say", () => {
  const text = $("text").value.trim();
  if (text && !connection.send({ say: text })) return; // it stays there until there is a connection
  $("text").value = "";
  toldTyping = 0;
});
onSubmit("move", () => {
  if (!connection.send({ move: $("next").value.trim() })) return;
  $("next").value = "";
  showView("talk");
  $("text").focus();
});
$("text").addEventListener("input", () => {
  const types = $("text").value.trim() !== "";
  if (types ? Date.now() - toldTyping < TYPING_AGAIN : toldTyping === 0) return;
  if (connection.send({ typing: types })) toldTyping = types ? Date.now() : 0;
});
$("kill").addEventListener("click", () => connection.send({ kill: true }));
$("now").addEventListener("click", () => connection.connect());
$("views").addEventListener("click", ({ target }) => {
  if (target.dataset.view) showView(target.dataset.view);
});
addEventListener("online", () => { if (connection.timer) connection.connect(); });
$("room").value = new URLSearchParams(location.hash.slice(1)).get("room") ?? "tea";
enable(false);
follow($("log"));
follow($("events"));
