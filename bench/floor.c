/* The least that an echo costs: what is read is written back, on epoll, and nothing else is done.
 *
 * One call serves until a signal ends the process. What does not go out at once (nothing of the
 * loads here) is a fault, as is everything else that the kernel refuses.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, READ_SIZE = 128 * 1024 };

static int watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* All that wait to be accepted. */
static int admit(int epoll, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) || watch(epoll, fd))
            return -1;
    return errno == EAGAIN || errno == ECONNABORTED ? 0 : -1;
}

static int answer(int fd) {
    static char bytes[READ_SIZE];
    ssize_t size = recv(fd, bytes, sizeof bytes, 0);
    if (size > 0)
        return send(fd, bytes, (size_t) size, MSG_NOSIGNAL) == size || errno == EPIPE ? 0 : -1;
    return size < 0 && errno == EAGAIN ? 0 : close(fd);
}

/* Serve a listening socket that does not block; returns the errno of a fault. */
int32_t floor_serve(int32_t listener) {
    static struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || watch(epoll, listener))
        return errno;
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return errno;
        for (int at = 0; at < count; at++) {
            int fd = events[at].data.fd;
            if (fd == listener ? admit(epoll, fd) : answer(fd))
                return errno;
        }
    }
}
