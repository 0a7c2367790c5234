"use strict";

// A WebSocket that is made again when it closes. Each wait is about twice as long as the one
// before it, and partly random, so that all the clients of a dead process don't come at once.

const FIRST_WAIT = 500; // milliseconds
const LONGEST_WAIT = 15000;
const STABLE = 5000; // a connection this old counts as good: the next wait is short again

class Connection {
  /**
   * @param {() => URL} address asked for each time
   * @param {{open, message, close, wait}} on called with nothing; a message; code, reason and the
   *   milliseconds until the next try; and, again and again, those that are left
   */
  constructor(address, on) {
    this.address = address;
    this.on = on;
    this.tries = 0;
    this.timer = 0;
    this.socket = null;
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  connect() {
    clearInterval(this.timer);
    this.timer = 0;
    if (this.socket && this.socket.readyState !== WebSocket.CLOSED) return;
    let opened = Infinity;
    this.socket = new WebSocket(this.address());
    this.socket.onopen = () => {
      opened = Date.now();
      this.on.open();
    };
    this.socket.onmessage = (event) => this.on.message(JSON.parse(event.data));
    this.socket.onclose = ({ code, reason }) => {
      if (Date.now() - opened > STABLE) this.tries = 0;
      this.on.close(code, reason, this.wait());
    };
  }

  wait() {
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.tries);
    const wait = longest * (0.5 + Math.random() / 2);
    const due = Date.now() + wait;
    this.tries += 1;
    const tick = () => {
      this.on.wait(Math.max(0, due - Date.now()));
      if (Date.now() >= due) this.connect();
    };
    this.timer = setInterval(tick, 200);
    queueMicrotask(tick);
    return wait;
  }

  /** Send a wish; false if there is no connection now. */
  send(wish) {
    if (this.open) this.socket.send(JSON.stringify(wish));
    return this.open;
  }
}
