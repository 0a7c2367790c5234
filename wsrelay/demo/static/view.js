"use strict";

// What is seen. What somebody typed only ever becomes a text node.

const LINES = 500; // kept in a list

const $ = (id) => document.getElementById(id);

/** A new element, with texts and elements in it. */
function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

/** Put a line at the end of a list. */
function add(list, line) {
  list.append(line);
  if (list.childElementCount > LINES) list.firstChild.remove();
}

/** Keep the end of a list in sight, until somebody scrolls away from it. */
function follow(list) {
  let atEnd = true;
  const show = () => {
    if (atEnd) list.scrollTop = list.scrollHeight;
  };
  list.addEventListener("scroll", () => {
    atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  });
  new MutationObserver(show).observe(list, { childList: true });
  new ResizeObserver(show).observe(list);
}

/** A time of day; `seconds` since 1970. */
function clock(seconds, style) {
  const date = new Date(seconds * 1000);
  const made = element("time", "", date.toLocaleTimeString([], style));
  made.dateTime = date.toISOString();
  return made;
}

/** A colour that belongs to a name. */
function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function showStatus(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

/** The buttons that need a connection; they keep the focus, so they are not disabled. */
function enable(yes) {
  for (const button of document.querySelectorAll("#say button, #move button, #kill"))
    button.ariaDisabled = String(!yes);
}

/** On a narrow screen, show one part of the page. */
function showView(name) {
  $("chat").dataset.view = name;
  for (const button of $("views").children)
    button.ariaPressed = String(button.dataset.view === name);
}

function showLine({ n, at, who, pid, text }, mine) {
  const name = element("b", "named", who);
  name.style.setProperty("--hue", hue(who));
  const time = clock(at, { hour: "2-digit", minute: "2-digit" });
  const number = element("span", "number", `#${n}`);
  number.title = "The room numbers its lines; everybody gets them in this order";
  const head = element("p", "head", name, " ", time, " ", number);
  add($("log"), element("li", mine ? "said mine" : "said", head, element("p", "", text)));
}

function showNotice(text, kind = "") {
  add($("log"), element("li", `notice ${kind}`, text));
}

function showPeople(there) {
  $("count").textContent = `(${there.length})`;
  $("people").replaceChildren(
    ...there.map((name) => {
      const face = element("span", "face named", [...name][0].toUpperCase());
      face.ariaHidden = "true";
      face.style.setProperty("--hue", hue(name));
      return element("li", "", face, name);
    }),
  );
}

function showTyping(names) {
  let text = "";
  if (names.length > 2) text = "Several people are typing …";
  else if (names.length) text = `${names.join(" and ")} ${names[1] ? "are" : "is"} typing …`;
  $("typing").textContent = text;
}

/** A PID that may be broken in its middle. */
function broken(pid) {
  const [host, uniq] = pid.split("|");
  return [`${host}|`, document.createElement("wbr"), uniq];
}

/** One line of what happened: who saw it or did it, whom it is about, and where that one goes. */
function showEvent(kind, by, who, note, pid, to) {
  const time = clock(Date.now() / 1000, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const line = element("li", "");
  line.append(element("p", "head", element("b", "", kind), " ", element("span", "by", by), time));
  line.append(element("p", "", ...(who ? [element("strong", "", who), " "] : []), note));
  if (pid) line.append(element("code", "", ...broken(pid)));
  if (to) line.append(element("code", "", "→ ", ...broken(to)));
  line.dataset.kind = kind;
  add($("events"), line);
}
