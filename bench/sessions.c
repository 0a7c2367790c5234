/* Whole sessions, one after another: connect, handshake, one echo, close; see sessions.py.
 *
 * As in pump.c all memory belongs to Python, and a call returns when the time is over, when nothing
 * is under way, or at the first fault. Each request is small and the socket new, so that the kernel
 * takes it whole; if it did not, that is a fault. Answers may come in any pieces.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 4, EVENTS = 256, ANSWER = 4096, ADDRESSES = 200 };
enum { OK = 0, WRONG = 1, CLOSED = 2, FAILED = 3 };
enum { RESTING, CONNECTING, SHAKING, ECHOING, CLOSING };

/* What a session says and must hear. */
struct script {
    const char *upgrade;
    const char *accept; /* the line that the 101 must have, without its name */
    const char *request;
    const char *reply;
};

struct session {
    struct script scripts[TURNS];
    int64_t begun_at;
    uint32_t got; /* bytes of answer */
    int32_t fd;
    int32_t turn;
    int32_t stage;
    char answer[ANSWER]; /* to the step that is under way */
};

struct sessions {
    struct session *sessions;
    const char *close; /* the client's close frame */
    int64_t *latencies; /* see pump.c: from connecting to the server's close frame */
    int64_t count; /* of sessions at a time */
    int64_t left; /* that may still begin */
    int64_t begun;
    int64_t done;
    int64_t open;
    int64_t faulty; /* index of the session of the first fault */
    uint32_t upgrade_size;
    uint32_t accept_size;
    uint32_t request_size;
    uint32_t reply_size;
    uint32_t close_size;
    int32_t epoll;
    int32_t error; /* errno of FAILED */
    uint16_t port;
};

int64_t bucket_of(int64_t ns); /* pump.c */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int fault_of_errno(struct sessions *all)
{
    all->error = errno;
    return errno == ECONNRESET || errno == EPIPE ? CLOSED : FAILED;
}

static int watch(struct sessions *all, struct session *s, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)(s - all->sessions)};
    return epoll_ctl(all->epoll, operation, s->fd, &event) ? fault_of_errno(all) : OK;
}

/* Begin a session. Each comes from another of many loopback addresses: the ports of a single one
 * would run out, because a closed connection keeps its own for a minute. */
static int begin(struct sessions *all, struct session *s)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
    int on = 1;
    if (all->left <= 0)
        return OK;
    all->left--;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(all->begun++ % ADDRESSES));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(all->port);
    s->begun_at = now();
    s->got = 0;
    s->turn = (s->turn + 1) % TURNS;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return fault_of_errno(all);
    s->stage = CONNECTING;
    all->open++;
    if (setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) ||
        bind(s->fd, (struct sockaddr *)&from, sizeof from) ||
        (connect(s->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS))
        return fault_of_errno(all);
    return watch(all, s, EPOLL_CTL_ADD, EPOLLOUT);
}

/* End a session, in whatever stage. */
static void end(struct sessions *all, struct session *s)
{
    if (s->stage == RESTING)
        return;
    close(s->fd); /* takes it out of epoll, too */
    s->stage = RESTING;
    all->open--;
}

/* Say the next thing, and expect its answer. */
static int say(struct sessions *all, struct session *s, const char *what, uint32_t size, int stage)
{
    ssize_t n = send(s->fd, what, size, MSG_NOSIGNAL);
    if (n >= 0 && n < size)
        errno = ENOBUFS;
    if (n < size)
        return fault_of_errno(all);
    s->got = 0;
    s->stage = stage;
    return OK;
}

/* The connection stands, or it failed. */
static int connected(struct sessions *all, struct session *s)
{
    socklen_t size = sizeof(int);
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errno, &size) || errno)
        return fault_of_errno(all);
    int fault = watch(all, s, EPOLL_CTL_MOD, EPOLLIN);
    const char *upgrade = s->scripts[s->turn].upgrade;
    return fault ? fault : say(all, s, upgrade, all->upgrade_size, SHAKING);
}

/* Look at the answer to the handshake; it is whole once its empty line came, and nothing follows. */
static int shaken(struct sessions *all, struct session *s)
{
    static const char status[] = "HTTP/1.1 101 ";
    const struct script *script = &s->scripts[s->turn];
    const char *end = memmem(s->answer, s->got, "\r\n\r\n", 4);
    if (!end)
        return s->got < ANSWER ? OK : WRONG;
    if (end + 4 != s->answer + s->got || memcmp(s->answer, status, sizeof status - 1) ||
        !memmem(s->answer, s->got, script->accept, all->accept_size))
        return WRONG;
    return say(all, s, script->request, all->request_size, ECHOING);
}

static int echoed(struct sessions *all, struct session *s)
{
    const char *reply = s->scripts[s->turn].reply;
    if (s->got > all->reply_size || memcmp(s->answer, reply, s->got))
        return WRONG;
    return s->got < all->reply_size ? OK : say(all, s, all->close, all->close_size, CLOSING);
}

/* Look at the server's close frame, RFC 6455 section 5.5.1: no code, or 1000. The session is over
 * with it; the next one begins. */
static int closed(struct sessions *all, struct session *s)
{
    const unsigned char *frame = (const unsigned char *)s->answer;
    uint32_t size = s->got < 2 ? 2 : 2 + (uint32_t)frame[1];
    if (frame[0] != 0x88 || (s->got > 1 && (frame[1] > 125 || frame[1] == 1)) || s->got > size)
        return WRONG;
    if (s->got < size)
        return OK;
    if (size > 2 && (frame[2] != 0x03 || frame[3] != 0xe8))
        return WRONG;
    all->latencies[bucket_of(now() - s->begun_at)]++;
    all->done++;
    end(all, s);
    return begin(all, s);
}

/* Read once, and go on if the answer is whole. */
static int on_readable(struct sessions *all, struct session *s)
{
    ssize_t n = recv(s->fd, s->answer + s->got, ANSWER - s->got, 0);
    if (n < 0)
        return errno == EAGAIN ? OK : fault_of_errno(all);
    if (n == 0)
        return CLOSED;
    s->got += (uint32_t)n;
    if (s->stage == SHAKING)
        return shaken(all, s);
    return s->stage == ECHOING ? echoed(all, s) : closed(all, s);
}

/* Let every session that rests begin. */
int sessions_start(struct sessions *all)
{
    for (all->faulty = 0; all->faulty < all->count; all->faulty++) {
        struct session *s = &all->sessions[all->faulty];
        int fault = s->stage == RESTING ? begin(all, s) : OK;
        if (fault)
            return fault;
    }
    return OK;
}

/* Go through sessions for so many nanoseconds, or until none is under way. */
int sessions_serve(struct sessions *all, int64_t nanoseconds)
{
    struct epoll_event events[EVENTS];
    int64_t deadline = now() + nanoseconds, left;
    while (all->open && (left = deadline - now()) > 0) {
        int n = epoll_wait(all->epoll, events, EVENTS, (int)(left / 1000000) + 1);
        if (n < 0 && errno != EINTR)
            return fault_of_errno(all);
        for (int i = 0; i < n; i++) {
            struct session *s = &all->sessions[events[i].data.u64];
            all->faulty = s - all->sessions;
            int fault = s->stage == CONNECTING ? connected(all, s) : on_readable(all, s);
            if (fault)
                return fault;
        }
    }
    return OK;
}

/* End all sessions. */
void sessions_abort(struct sessions *all)
{
    for (int64_t i = 0; i < all->count; i++)
        end(all, &all->sessions[i]);
}
