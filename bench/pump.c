/* The load generator's loop: see pump.py, which compiles and calls it, for what it is and why it is C.
 *
 * Everything here belongs to Python: sockets, epoll, windows, memory. A call returns when the time is
 * over, when every connection rests, or at the first fault, which then names its connection.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { TURNS = 4, EVENTS = 256, BUCKETS = 64 * 59 };
enum { OK = 0, WRONG = 1, CLOSED = 2, FAILED = 3 };

struct window {
    const char *request;
    const char *reply;
};

struct connection {
    struct window windows[TURNS];
    int64_t sent_at; /* nanoseconds, when the window in flight was sent */
    uint32_t sent;   /* bytes of its request that the kernel took */
    uint32_t got;    /* bytes of its reply that came and were right */
    int32_t fd;
    int32_t turn; /* which of the windows is, or was last, in flight */
    int32_t busy; /* a window is in flight */
};

struct load {
    struct connection *connections;
    char *scratch; /* what was read last: reply_size + 1 bytes, so that a byte too many shows */
    int64_t *latencies; /* BUCKETS counts, log-linear: see bucket_of */
    int64_t windows_left; /* that may still be sent */
    int64_t windows_done;
    int64_t waiting; /* connections with a window in flight */
    int64_t faulty; /* index of the connection of the first fault */
    int64_t scratch_size; /* bytes of scratch that were read last */
    uint32_t request_size;
    uint32_t reply_size;
    int32_t epoll;
    int32_t error; /* errno of FAILED */
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

/* Send the next window, or rest if no more may be sent. */
static int next_window(struct load *load, struct connection *c, int64_t time)
{
    load->waiting -= c->busy;
    c->busy = load->windows_left > 0;
    c->got = c->sent = 0;
    if (!c->busy)
        return OK;
    load->waiting++;
    load->windows_left--;
    c->turn = (c->turn + 1) % TURNS;
    c->sent_at = time;
    return send_rest(load, c, 0);
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
    if (c->sent < load->request_size)
        return WRONG;
    int64_t time = now();
    load->windows_done++;
    load->latencies[bucket_of(time - c->sent_at)]++;
    return next_window(load, c, time);
}

static int on_event(struct load *load, struct connection *c, uint32_t events)
{
    int fault = OK;
    if (events & EPOLLOUT)
        fault = send_rest(load, c, 1);
    if (!fault && events & ~(uint32_t)EPOLLOUT)
        fault = read_reply(load, c);
    if (fault)
        load->faulty = c - load->connections;
    return fault;
}

/* Watch every connection. */
int attach(struct load *load, int64_t connections)
{
    int fault = OK;
    for (load->faulty = 0; !fault && load->faulty < connections; load->faulty++)
        fault = watch(load, &load->connections[load->faulty], EPOLL_CTL_ADD, EPOLLIN);
    return fault;
}

/* Let every connection that rests send a window. */
int start(struct load *load, int64_t connections)
{
    for (int64_t i = 0; i < connections; i++) {
        struct connection *c = &load->connections[i];
        int fault = c->busy ? OK : next_window(load, c, now());
        if (fault) {
            load->faulty = i;
            return fault;
        }
    }
    return OK;
}

/* Exchange windows for so many nanoseconds, or until every connection rests. */
int serve(struct load *load, int64_t nanoseconds)
{
    struct epoll_event events[EVENTS];
    int64_t deadline = now() + nanoseconds, left;
    while (load->waiting && (left = deadline - now()) > 0) {
        int n = epoll_wait(load->epoll, events, EVENTS, (int)(left / 1000000) + 1);
        if (n < 0 && errno != EINTR)
            return fault_of_errno(load);
        for (int i = 0; i < n; i++) {
            int fault = on_event(load, &load->connections[events[i].data.u64], events[i].events);
            if (fault)
                return fault;
        }
    }
    return OK;
}
