/* The load generator's loop: see pump.py, which compiles and calls it, for what it is and why it is C.
 *
 * Three ways to load a server, the same check of every byte. ECHO: a connection sends its next window
 * when the last one is answered. PACED: the same at a fixed rate, whatever the server does; a window
 * that waits for an answer counts from when it was due. FAN: one connection publishes, all wait for
 * the message, and when the last one has it, the next is published.
 *
 * Everything here belongs to Python: sockets, epoll, windows, memory. A call returns when the time is
 * over, when every connection rests, or at the first fault, which then names its connection.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { TURNS = 4, EVENTS = 256, BUCKETS = 64 * 59 };
enum { OK = 0, WRONG = 1, CLOSED = 2, FAILED = 3 };
enum { ECHO = 0, PACED = 1, FAN = 2 };

struct window {
    const char *request;
    const char *reply;
};

struct connection {
    struct window windows[TURNS];
    int64_t sent_at; /* nanoseconds, when the window in flight was sent; PACED: was due */
    int64_t due; /* PACED: when the next window is */
    uint32_t sent;   /* bytes of its request that the kernel took */
    uint32_t got;    /* bytes of its reply that came and were right */
    int32_t fd;
    int32_t turn; /* which of the windows is, or was last, in flight */
    int32_t busy; /* a window is in flight */
};

struct load {
    struct connection *connections;
    char *scratch; /* what was read last: reply_size + 1 bytes, so that a byte too many shows */
    int64_t *latencies; /* BUCKETS counts, log-linear: see bucket_of. FAN: until all have it */
    int64_t *lateness; /* the same. PACED: by how much this loop itself was late to send */
    int64_t count; /* of connections */
    int64_t pause; /* PACED: nanoseconds from one window to the next, of the next connections */
    int64_t together; /* PACED: so many connections send at the same time */
    int64_t slot; /* PACED: index of the connection whose turn is next, */
    int64_t slot_due; /* and when */
    int64_t windows_left; /* that may still be sent */
    int64_t windows_done; /* answers that were whole and right; FAN: by each connection */
    int64_t waiting; /* connections with a window in flight */
    int64_t faulty; /* index of the connection of the first fault */
    int64_t scratch_size; /* bytes of scratch that were read last */
    uint32_t request_size;
    uint32_t reply_size;
    int32_t epoll;
    int32_t error; /* errno of FAILED */
    int32_t mode;
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Nanoseconds to the index of a bucket that is at most 1/64 of its value wide. */
int64_t bucket_of(int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    int width = 63 - __builtin_clzll(value | 64) - 6;
    return (int64_t)width * 64 + (int64_t)(value >> width);
}

static int fault_of_errno(struct load *load)
{
    load->error = errno;
    return errno == ECONNRESET || errno == EPIPE ? CLOSED : FAILED;
}

/* Add a connection to epoll, or change what it is watched for; events carry its index. */
static int watch(struct load *load, struct connection *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(c - load->connections)};
    return epoll_ctl(load->epoll, operation, c->fd, &event) ? fault_of_errno(load) : OK;
}

/* Send what is left of the window in flight; a full socket is watched until it takes more. */
static int send_rest(struct load *load, struct connection *c, int watched)
{
    const char *request = c->windows[c->turn].request;
    ssize_t n = send(c->fd, request + c->sent, load->request_size - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        return fault_of_errno(load);
    c->sent += n > 0 ? (uint32_t)n : 0;
    if (c->sent < load->request_size)
        return watched ? OK : watch(load, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return watched ? watch(load, c, EPOLL_CTL_MOD, EPOLLIN) : OK;
}

/* Expect the reply to the next window, none of which is sent yet. */
static void expect_next(struct load *load, struct connection *c, int64_t time)
{
    load->waiting++;
    c->busy = 1;
    c->got = c->sent = 0;
    c->turn = (c->turn + 1) % TURNS;
    c->sent_at = time;
}

/* Send the next window of a connection that rests, unless no more may be sent. */
static int next_window(struct load *load, struct connection *c, int64_t time)
{
    if (load->windows_left <= 0)
        return OK;
    load->windows_left--;
    c->due += load->pause * (load->count / load->together);
    expect_next(load, c, time);
    return send_rest(load, c, 0);
}

/* Send every window that is due. A connection that still waits sends its own after its answer. */
static int send_due(struct load *load)
{
    int64_t time = now();
    while (load->slot_due <= time) {
        struct connection *c = &load->connections[load->slot];
        int64_t slot_due = load->slot_due;
        load->slot = (load->slot + 1) % load->count;
        if (load->slot % load->together == 0)
            load->slot_due += load->pause;
        if (c->busy || c->due > slot_due || load->windows_left <= 0)
            continue;
        load->lateness[bucket_of(time - c->due)]++;
        int fault = next_window(load, c, c->due);
        if (fault) {
            load->faulty = c - load->connections;
            return fault;
        }
    }
    return OK;
}

/* Let the last connection send the next message, which all of them are to get. */
static int publish(struct load *load, int64_t time)
{
    struct connection *last = &load->connections[load->count - 1];
    if (load->windows_left <= 0)
        return OK;
    load->windows_left--;
    for (struct connection *c = load->connections; c <= last; c++) {
        expect_next(load, c, time);
        c->sent = load->request_size; /* by the last one */
    }
    last->sent = 0;
    load->faulty = load->count - 1;
    return send_rest(load, last, 0);
}

/* Count a whole, right answer, and go on. */
static int answered(struct load *load, struct connection *c)
{
    int64_t time = now();
    load->windows_done++;
    load->waiting--;
    c->busy = 0;
    c->got = c->sent = 0;
    if (load->mode != FAN || !load->waiting)
        load->latencies[bucket_of(time - c->sent_at)]++;
    if (load->mode == FAN)
        return load->waiting ? OK : publish(load, time);
    if (load->mode == PACED)
        return c->due <= time ? next_window(load, c, c->due) : OK;
    return next_window(load, c, time);
}

/* Read once and compare. An answer before its request has gone out whole is wrong, too. */
static int read_reply(struct load *load, struct connection *c)
{
    const char *reply = c->windows[c->turn].reply;
    uint32_t expected = c->sent ? load->reply_size - c->got : 0;
    ssize_t n = recv(c->fd, load->scratch, (size_t)expected + 1, 0);
    if (n < 0)
        return errno == EAGAIN ? OK : fault_of_errno(load);
    load->scratch_size = n;
    if (n == 0)
        return CLOSED;
    if (n > expected || memcmp(load->scratch, reply + c->got, (size_t)n))
        return WRONG;
    c->got += (uint32_t)n;
    if (c->got < load->reply_size)
        return OK;
    return c->sent < load->request_size ? WRONG : answered(load, c);
}

static int on_event(struct load *load, struct connection *c, uint32_t events)
{
    int fault = OK;
    load->faulty = c - load->connections;
    if (events & EPOLLOUT)
        fault = send_rest(load, c, 1);
    if (!fault && events & ~(uint32_t)EPOLLOUT)
        fault = read_reply(load, c);
    return fault;
}

/* Watch every connection. */
int attach(struct load *load)
{
    for (load->faulty = 0; load->faulty < load->count; load->faulty++) {
        int fault = watch(load, &load->connections[load->faulty], EPOLL_CTL_ADD, EPOLLIN);
        if (fault)
            return fault;
    }
    return OK;
}

/* Let every connection that rests send a window; PACED: from now on in turn, a pause apart. */
int start(struct load *load)
{
    if (load->mode == FAN)
        return load->waiting ? OK : publish(load, now());
    if (load->mode == PACED) {
        if (prctl(PR_SET_TIMERSLACK, 1UL)) /* else the kernel wakes this loop 50 us late */
            return fault_of_errno(load);
        load->slot = 0;
        load->slot_due = now();
        for (int64_t i = 0; i < load->count; i++)
            load->connections[i].due = load->slot_due + i / load->together * load->pause;
        return send_due(load);
    }
    for (load->faulty = 0; load->faulty < load->count; load->faulty++) {
        struct connection *c = &load->connections[load->faulty];
        int fault = c->busy ? OK : next_window(load, c, now());
        if (fault)
            return fault;
    }
    return OK;
}

/* Wait for events, at most so many nanoseconds: epoll_wait itself counts in milliseconds. */
static int wait_for(struct load *load, struct epoll_event *events, int64_t left)
{
    if (load->mode == PACED) {
        struct pollfd ready = {.fd = load->epoll, .events = POLLIN};
        struct timespec limit = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        int n = ppoll(&ready, 1, &limit, 0);
        return n > 0 ? epoll_wait(load->epoll, events, EVENTS, 0) : n;
    }
    return epoll_wait(load->epoll, events, EVENTS, (int)(left / 1000000) + 1);
}

/* Exchange windows for so many nanoseconds, or until every connection rests for good. */
int serve(struct load *load, int64_t nanoseconds)
{
    struct epoll_event events[EVENTS];
    int64_t deadline = now() + nanoseconds, left, pause;
    int fault;
    while ((left = deadline - now()) > 0) {
        int paced = load->mode == PACED && load->windows_left > 0;
        if (!paced && !load->waiting)
            return OK;
        if (paced && (fault = send_due(load)))
            return fault;
        if (paced && (pause = load->slot_due - now()) < left)
            left = pause > 0 ? pause : 0;
        int n = wait_for(load, events, left);
        if (n < 0 && errno != EINTR)
            return fault_of_errno(load);
        for (int i = 0; i < n; i++)
            if ((fault = on_event(load, &load->connections[events[i].data.u64], events[i].events)))
                return fault;
    }
    return OK;
}
