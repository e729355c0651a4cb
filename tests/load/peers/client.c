/* Opens WebSockets and counts the frames that they receive, as cheaply as it can.
 *
 * usage: client PORT REQUESTS
 *
 * REQUESTS holds, for each connection, a line "<bytes of the upgrade request> <bytes to send once it is accepted>"
 * and then these bytes. Commands on standard input, each answered by one line:
 *
 *   open N AT_ONCE          open the next N connections    -> opened <ok> <failed> <seconds>
 *   wait FRAMES SECONDS     until so many frames in all    -> frames <received so far> <seconds>
 *   close                   close all, start at the first  -> closed <by the server before>
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
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 2048, EVENTS = 512, BUFFER = 262144 };
static const char PONG[] = "\x8a\x80\0\0\0"; /* masked with zeros, and without a payload */

struct connection {
    int fd;
    char is_open;
    char head[HEAD_MAX];        /* the answer to the upgrade, or a frame's header */
    int head_size;
    unsigned long payload_left; /* of the frame that is being read */
    const char *request, *hello;
    long request_size, hello_size;
};

static struct connection *connections;
static long total, started, live, failed, ended, frames;
static int poller, port;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    long request, hello, room = 0;
    if (!file) die(path);
    while (fscanf(file, "%ld %ld", &request, &hello) == 2) {
        char *bytes = malloc(request + hello + 1);
        if (fgetc(file) != '\n' || fread(bytes, 1, request + hello, file) != (size_t)(request + hello)) die("requests");
        if (total == room) connections = realloc(connections, sizeof(*connections) * (room = room ? room * 2 : 1024));
        memset(&connections[total], 0, sizeof(*connections));
        connections[total].fd = -1;
        connections[total].request = bytes;
        connections[total].request_size = request;
        connections[total].hello = bytes + request;
        connections[total++].hello_size = hello;
    }
    fclose(file);
}

static void begin(struct connection *c) {
    struct sockaddr_in own = {.sin_family = AF_INET}, server = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;
    /* From several addresses: one has too few ports for a second round, and once half of them (14,000) are in use,
       the kernel searches through all these for each further connection. */
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (c - connections) / 10000);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) die("socket: raise the limit of open files (ulimit -n)");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&own, sizeof own) < 0) die("bind");
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0) die("connect");
    if (write(c->fd, c->request, c->request_size) != c->request_size) die("request");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
}

static void drop(struct connection *c) {
    if (c->is_open) { live--; ended++; } else failed++;
    close(c->fd);
    c->fd = -1;
    c->is_open = 0;
}

/* Count the frames in what was read; a header may be cut anywhere. */
static void count(struct connection *c, const char *at, long size) {
    while (size > 0) {
        if (c->payload_left) {
            unsigned long step = c->payload_left < (unsigned long)size ? c->payload_left : (unsigned long)size;
            c->payload_left -= step; at += step; size -= step;
            continue;
        }
        c->head[c->head_size++] = *at++; size--;
        if (c->head_size < 2) continue;
        unsigned char length = c->head[1] & 127;
        int need = length == 126 ? 4 : length == 127 ? 10 : 2;
        if (c->head_size < need) continue;
        unsigned long payload = length;
        if (need > 2) for (payload = 0, length = 2; length < need; length++) payload = payload << 8 | (unsigned char)c->head[length];
        if ((c->head[0] & 15) <= 2) frames++;
        /* a server may close a connection on which it receives nothing */
        if ((c->head[0] & 15) == 9 && write(c->fd, PONG, sizeof PONG - 1) < 0 && errno != EAGAIN) die("pong");
        c->payload_left = payload;
        c->head_size = 0;
    }
}

static void receive(struct connection *c) {
    static char buffer[BUFFER];
    long size = read(c->fd, buffer, sizeof buffer);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) { drop(c); return; }
    if (c->is_open) { count(c, buffer, size); return; }
    for (long used = 0; used < size; used++) {
        if (c->head_size == HEAD_MAX - 1) { drop(c); return; }
        c->head[c->head_size++] = buffer[used];
        if (c->head_size < 4 || memcmp(c->head + c->head_size - 4, "\r\n\r\n", 4)) continue;
        if (memcmp(c->head + 9, "101", 3)) { drop(c); return; }
        if (c->hello_size && write(c->fd, c->hello, c->hello_size) != c->hello_size) die("hello");
        c->head_size = 0;
        c->is_open = 1;
        live++;
        count(c, buffer + used + 1, size - used - 1);
        return;
    }
}

static void step(int milliseconds) {
    struct epoll_event events[EVENTS];
    int found = epoll_wait(poller, events, EVENTS, milliseconds);
    for (int i = 0; i < found; i++) receive(events[i].data.ptr);
}

static void open_more(long count, long at_once) {
    long last = started + count < total ? started + count : total;
    long live_before = live, failed_before = failed, before = live + failed + ended, begun = 0;
    double from = now();
    while (live + failed + ended - before < begun || started < last) {
        while (started < last && begun - (live + failed + ended - before) < at_once) {
            begin(&connections[started++]);
            begun++;
        }
        step(1000);
    }
    printf("opened %ld %ld %.6f\n", live - live_before, failed - failed_before, now() - from);
}

int main(int count, char **words) {
    char line[256];
    long number, at_once;
    double seconds, from;
    if (count != 3) { fprintf(stderr, "usage: client PORT REQUESTS\n"); return 2; }
    port = atoi(words[1]);
    poller = epoll_create1(0);
    load(words[2]);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %ld %ld", &number, &at_once) == 2) {
            open_more(number, at_once);
        } else if (sscanf(line, "wait %ld %lf", &number, &seconds) == 2) {
            for (from = now(); frames < number && now() - from < seconds;) step(50);
            printf("frames %ld %.6f\n", frames, now() - from);
        } else if (!strcmp(line, "close\n")) {
            printf("closed %ld\n", ended);
            for (long i = 0; i < started; i++) {
                struct linger abort = {1, 0}; /* no TIME_WAIT */
                if (connections[i].fd < 0) continue;
                setsockopt(connections[i].fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
                close(connections[i].fd);
                connections[i].fd = -1;
                connections[i].is_open = connections[i].head_size = 0;
                connections[i].payload_left = 0;
            }
            started = live = failed = ended = frames = 0;
        }
        fflush(stdout);
    }
    return 0;
}
