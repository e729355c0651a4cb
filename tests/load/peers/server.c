/* The limit: accepts WebSockets, and writes each message to the subscribers of its channel in a loop.
 *
 * usage: server PORT CONTROL_PORT
 *
 * The channel is the number after "/" in the request's path. Messages come on the control port as a line
 * "<channel> <bytes>" and then these bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHANNELS = 20000, EVENTS = 512, BUFFER = 1 << 20 };

static struct channel { int *fds, count, room; } channels[CHANNELS];
static char control_buffer[BUFFER];
static long control_size;
static int control = -1;

static void die(const char *what) { perror(what); exit(1); }

static int listening(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(fd, 4096) < 0) die("listen");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void watch(int poller, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void upgrade(int fd, const char *request) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    unsigned number = 0;
    sscanf(request, "GET /%u", &number);
    struct channel *channel = &channels[number % CHANNELS];
    if (channel->count == channel->room)
        channel->fds = realloc(channel->fds, sizeof(int) * (channel->room = channel->room ? channel->room * 2 : 16));
    channel->fds[channel->count++] = fd;
    if (write(fd, answer, sizeof answer - 1) < 0) die("answer");
}

static void forget(int fd) {
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < channels[c].count; i++)
            if (channels[c].fds[i] == fd) channels[c].fds[i--] = channels[c].fds[--channels[c].count];
    close(fd);
}

static void deliver(unsigned number, const char *payload, long size) {
    static char frame[BUFFER + 4];
    struct channel *channel = &channels[number % CHANNELS];
    int head = size < 126 ? 2 : 4;
    frame[0] = (char)0x81;
    frame[1] = size < 126 ? size : 126;
    if (head == 4) { frame[2] = size >> 8; frame[3] = size; }
    memcpy(frame + head, payload, size);
    for (int i = 0; i < channel->count; i++)
        if (send(channel->fds[i], frame, head + size, MSG_NOSIGNAL) < 0 && errno != EAGAIN) { /* ends with its read */ }
}

static void publish(void) {
    long used = 0, size;
    unsigned number;
    int got = read(control, control_buffer + control_size, BUFFER - control_size - 1);
    if (got <= 0) { close(control); control = -1; control_size = 0; return; }
    control_size += got;
    for (;;) {
        char *line = control_buffer + used, *end = memchr(line, '\n', control_size - used);
        if (!end || sscanf(line, "%u %ld", &number, &size) != 2 || end + 1 + size > control_buffer + control_size) break;
        deliver(number, end + 1, size);
        used = end + 1 + size - control_buffer;
    }
    memmove(control_buffer, control_buffer + used, control_size -= used);
}

int main(int count, char **words) {
    static char request[8192];
    static char is_open[1 << 20];
    struct epoll_event events[EVENTS];
    if (count != 3) { fprintf(stderr, "usage: server PORT CONTROL_PORT\n"); return 2; }
    int poller = epoll_create1(0), public = listening(atoi(words[1])), private = listening(atoi(words[2])), on = 1;
    watch(poller, public);
    watch(poller, private);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd;
            if (fd == public || fd == private) {
                int made;
                while ((made = accept4(fd, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    if (fd == private) control = made;
                    watch(poller, made);
                }
            } else if (fd == control) {
                publish();
            } else {
                long size = read(fd, request, sizeof request - 1);
                if (size <= 0) { if (size == 0 || errno != EAGAIN) { is_open[fd] = 0; forget(fd); } continue; }
                request[size] = 0; /* a client's request is small enough to arrive in one piece */
                if (!is_open[fd] && strstr(request, "\r\n\r\n")) { is_open[fd] = 1; upgrade(fd, request); }
            }
        }
    }
}
