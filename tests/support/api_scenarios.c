// A plain C program on librina-api: each scenario is what some application does. It exits with 0 if
// all went as <rina/api.h> says, and names the line otherwise.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <rina/api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, errno, \
                    strerror(errno));                                                          \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static struct rina_flow_spec reliable(void) {
    struct rina_flow_spec spec;
    rina_flow_spec_default(&spec);
    spec.max_sdu_gap = 0;
    spec.in_order_delivery = 1;
    return spec;
}

static int listen_as(const char* name) {
    int fd = rina_open();
    CHECK(fd >= 0);
    CHECK(rina_register(fd, NULL, name, 0) == 0);
    return fd;
}

static int readable(int fd, int milliseconds) {
    struct pollfd wait = {fd, POLLIN, 0};
    int count = poll(&wait, 1, milliseconds);
    CHECK(count >= 0);
    return count == 1 && (wait.revents & POLLIN) != 0;
}

static void say(int fd, const char* text) {
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void hear(int fd, const char* text) {
    char buffer[256];
    ssize_t size = read(fd, buffer, sizeof buffer);
    CHECK(size == (ssize_t)strlen(text) && memcmp(buffer, text, strlen(text)) == 0);
}

static void hear_end(int fd) {
    char buffer[16];
    CHECK(read(fd, buffer, sizeof buffer) == 0);
}

// Both ends of a flow in one process.
static void pair(int listener, const char* to, const struct rina_flow_spec* spec, int ends[2]) {
    int wait = rina_flow_alloc(NULL, "client|1", to, spec, RINA_F_NOWAIT);
    CHECK(wait >= 0);
    ends[1] = rina_flow_accept(listener, NULL, NULL, 0);
    CHECK(ends[1] >= 0);
    CHECK(readable(wait, 10000));
    ends[0] = rina_flow_alloc_wait(wait);
    CHECK(ends[0] >= 0);
}

static void basic(void) {
    int listener = listen_as("basic|server");
    pid_t child = fork();
    if (child == 0) {
        close(listener);
        struct rina_flow_spec spec = reliable();
        int flow = rina_flow_alloc(NULL, "basic|client", "basic|server", &spec, 0);
        CHECK(flow >= 0);
        say(flow, "one");
        say(flow, "");
        say(flow, "two!");
        hear(flow, "three");
        hear_end(flow);
        hear_end(flow);
        CHECK(write(flow, "x", 1) == -1 && errno == EPIPE);
        CHECK(close(flow) == 0);
        exit(0);
    }
    char* remote = NULL;
    struct rina_flow_spec spec;
    int flow = rina_flow_accept(listener, &remote, &spec, 0);
    CHECK(flow >= 0);
    CHECK(strcmp(remote, "basic|client") == 0);
    CHECK(spec.version == RINA_FLOW_SPEC_VERSION && spec.max_sdu_gap == 0 &&
          spec.in_order_delivery == 1 && spec.max_loss == RINA_FLOW_SPEC_LOSS_MAX);
    free(remote);
    hear(flow, "one");
    hear(flow, "two!");
    say(flow, "three");
    CHECK(close(flow) == 0);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(close(listener) == 0);
    // Its name went with it. The server may not have come to it yet.
    int again = rina_open();
    CHECK(again >= 0);
    while (rina_register(again, NULL, "basic|server", 0) < 0) CHECK(errno == EADDRINUSE);
    CHECK(rina_unregister(again, NULL, "basic|server", 0) == 0);
    CHECK(rina_unregister(again, NULL, "basic|server", 0) == -1 && errno == ENOENT);
    close(again);
}

static void nowait(void) {
    int fd = rina_open();
    CHECK(fd >= 0);
    int wait = rina_register(fd, "local", "nowait", RINA_F_NOWAIT);
    CHECK(wait >= 0);
    CHECK(readable(wait, 10000) && !readable(fd, 0));
    CHECK(rina_register_wait(fd, wait) == 0);
    CHECK(fcntl(wait, F_GETFD) == -1 && errno == EBADF);
    wait = rina_register(fd, NULL, "nowait", RINA_F_NOWAIT);
    CHECK(rina_register_wait(fd, wait) == -1 && errno == EADDRINUSE);
    CHECK(fcntl(wait, F_GETFD) == -1);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    CHECK(rina_flow_accept(fd, NULL, NULL, RINA_F_NOWAIT) == -1 && errno == EAGAIN);
    CHECK(rina_flow_accept(fd, NULL, NULL, RINA_F_NORESP) == -1 && errno == EAGAIN);

    int loop = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    CHECK(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) == 0);
    int asked = rina_flow_alloc(NULL, NULL, "nowait", NULL, RINA_F_NOWAIT);
    CHECK(asked >= 0);
    CHECK(fcntl(asked, F_SETFL, O_NONBLOCK) == 0);
    CHECK(rina_flow_alloc_wait(asked) == -1 && errno == EAGAIN);
    CHECK(epoll_wait(loop, &event, 1, 10000) == 1 && event.data.fd == fd);
    char* remote = NULL;
    int flow = rina_flow_accept(fd, &remote, NULL, 0);
    CHECK(flow >= 0 && strcmp(remote, "") == 0);
    free(remote);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(asked, &set);
    CHECK(select(asked + 1, &set, NULL, NULL, NULL) == 1);
    int other = rina_flow_alloc_wait(asked);
    CHECK(other >= 0);
    CHECK(!readable(flow, 0));
    say(other, "hello");
    CHECK(readable(flow, 10000));
    hear(flow, "hello");
    wait = rina_unregister(fd, NULL, "nowait", RINA_F_NOWAIT);
    CHECK(wait >= 0 && rina_register_wait(fd, wait) == 0);
    asked = rina_flow_alloc(NULL, NULL, "nowait", NULL, RINA_F_NOWAIT);
    CHECK(asked >= 0 && rina_flow_alloc_wait(asked) == -1 && errno == EHOSTUNREACH);
    close(flow);
    close(other);
    close(loop);
    close(fd);
}

static void noresp(void) {
    int listener = listen_as("noresp");
    int first = rina_flow_alloc(NULL, "a", "noresp", NULL, RINA_F_NOWAIT);
    CHECK(first >= 0 && readable(listener, 10000));
    int handle = rina_flow_accept(listener, NULL, NULL, RINA_F_NORESP);
    CHECK(handle > 0);
    int second = rina_flow_alloc(NULL, "b", "noresp", NULL, RINA_F_NOWAIT);
    char* remote = NULL;
    int other = rina_flow_accept(listener, &remote, NULL, RINA_F_NORESP);
    CHECK(other > 0 && other != handle && strcmp(remote, "b") == 0);
    free(remote);
    CHECK(rina_flow_respond(listener, other, 1) == 0);
    CHECK(rina_flow_alloc_wait(second) == -1 && errno == ECONNREFUSED);
    CHECK(rina_flow_respond(listener, other, 0) == -1 && errno == ESTALE);
    CHECK(rina_flow_respond(listener, 0, 0) == -1 && errno == EINVAL);
    int flow = rina_flow_respond(listener, handle, 0);
    CHECK(flow >= 0);
    int mine = rina_flow_alloc_wait(first);
    CHECK(mine >= 0);
    say(mine, "x");
    hear(flow, "x");
    // Somebody who gave up is passed over.
    int given_up = rina_flow_alloc(NULL, "c", "noresp", NULL, RINA_F_NOWAIT);
    CHECK(given_up >= 0 && readable(listener, 10000));
    close(given_up);
    int ends[2];
    pair(listener, "noresp", NULL, ends);
    say(ends[0], "d");
    hear(ends[1], "d");
    close(ends[0]);
    close(ends[1]);
    close(flow);
    close(mine);
    close(listener);
}

static void limits(void) {
    int listener = listen_as("limits");
    struct rina_flow_spec spec = reliable();
    int ends[2];
    pair(listener, "limits", &spec, ends);
    unsigned int mss = rina_flow_mss_get(ends[0]);
    CHECK(mss >= 5000 && rina_flow_mss_get(ends[1]) == mss);
    CHECK(rina_flow_mss_get(listener) == 0 && errno == EINVAL);
    CHECK(rina_flow_mss_get(-1) == 0 && errno == EBADF);
    CHECK(rina_flow_mss_get(0) == 0);
    char* bytes = malloc(mss + 2);
    char* read_back = malloc(mss + 2);
    CHECK(bytes != NULL && read_back != NULL);
    for (unsigned int i = 0; i < mss + 2; ++i) bytes[i] = (char)(i * 7);
    CHECK(write(ends[0], bytes, mss + 1) == -1 && errno == EMSGSIZE);
    CHECK(write(ends[0], bytes, mss + 2) == -1 && errno == EMSGSIZE);
    CHECK(write(ends[0], bytes, mss) == (ssize_t)mss);
    CHECK(read(ends[1], read_back, mss + 2) == (ssize_t)mss);
    CHECK(memcmp(bytes, read_back, mss) == 0);
    free(bytes);
    free(read_back);
    // A full flow.
    CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    unsigned int sent = 0;
    unsigned int full = 0;
    while (full < 3) {
        if (write(ends[0], &sent, sizeof sent) == (ssize_t)sizeof sent) {
            ++sent;
            continue;
        }
        CHECK(errno == EAGAIN);
        // Full for the moment, or for good: the server may have room yet.
        struct pollfd wait = {ends[0], POLLOUT, 0};
        if (poll(&wait, 1, 50) == 0) ++full;
    }
    CHECK(sent > 10);
    CHECK(close(ends[0]) == 0);
    for (unsigned int i = 0; i < sent; ++i) {
        unsigned int got = 0;
        CHECK(read(ends[1], &got, sizeof got) == (ssize_t)sizeof got && got == i);
    }
    hear_end(ends[1]);
    close(ends[1]);
    close(listener);
}

static void small(void) {
    int listener = listen_as("small");
    struct rina_flow_spec spec = reliable();
    int ends[2];
    pair(listener, "small", &spec, ends);
    CHECK(rina_flow_mss_get(ends[0]) == 1400);
    static char bytes[400000];
    memset(bytes, 'x', sizeof bytes);
    char back[2000];
    CHECK(write(ends[0], bytes, sizeof bytes) == -1 && errno == EMSGSIZE);
    CHECK(write(ends[0], bytes, 1400) == 1400);
    CHECK(read(ends[1], back, sizeof back) == 1400);
    CHECK(write(ends[0], bytes, 1) == 1);
    CHECK(write(ends[0], bytes, 1401) == 1401);
    CHECK(read(ends[1], back, sizeof back) == 1);
    hear_end(ends[1]);
    hear_end(ends[0]);
    CHECK(write(ends[0], bytes, 1) == -1 && errno == EPIPE);
    close(ends[0]);
    close(ends[1]);
    close(listener);
}

static void refused(void) {
    struct rina_flow_spec spec = reliable();
    int fd = rina_open();
    CHECK(fd >= 0);
    CHECK(rina_flow_alloc(NULL, "a", "nobody", NULL, 0) == -1 && errno == EHOSTUNREACH);
    CHECK(rina_flow_alloc("no.dif", "a", "nobody", NULL, 0) == -1 && errno == ENETUNREACH);
    CHECK(rina_flow_alloc(NULL, "a", NULL, NULL, 0) == -1 && errno == EINVAL);
    CHECK(rina_flow_alloc(NULL, "a", "", NULL, 0) == -1 && errno == EINVAL);
    CHECK(rina_flow_alloc(NULL, "a", "b", NULL, RINA_F_NORESP) == -1 && errno == EINVAL);
    CHECK(rina_flow_alloc(NULL, "a\n", "b", NULL, 0) == -1 && errno == EINVAL);
    CHECK(rina_flow_alloc(NULL, "a", "b|c|d|e|f", NULL, 0) == -1 && errno == EINVAL);
    spec.version = 1;
    CHECK(rina_flow_alloc(NULL, "a", "nobody", &spec, 0) == -1 && errno == EINVAL);
    spec.version = 2;
    spec.max_loss = RINA_FLOW_SPEC_LOSS_MAX + 1;
    CHECK(rina_flow_alloc(NULL, "a", "nobody", &spec, 0) == -1 && errno == EINVAL);
    CHECK(rina_register(fd, "no.dif", "a", 0) == -1 && errno == ENETUNREACH);
    CHECK(rina_register(fd, NULL, NULL, 0) == -1 && errno == EINVAL);
    CHECK(rina_register(fd, NULL, "|x", 0) == -1 && errno == EINVAL);
    CHECK(rina_register(fd, NULL, "x", 8) == -1 && errno == EINVAL);
    CHECK(rina_register(fd, NULL, "forbidden|1", 0) == -1 && errno == EACCES);
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = '\0';
    CHECK(rina_register(fd, NULL, name, 0) == -1 && errno == ENAMETOOLONG);
    CHECK(rina_register(-1, NULL, "x", 0) == -1 && errno == EBADF);
    CHECK(rina_flow_accept(-1, NULL, NULL, 0) == -1 && errno == EBADF);
    CHECK(rina_flow_accept(fd, NULL, NULL, 64) == -1 && errno == EINVAL);
    CHECK(rina_flow_alloc_wait(-1) == -1 && errno == EBADF);
    CHECK(rina_register(fd, NULL, "refused", 0) == 0);
    spec = reliable();
    spec.avg_bandwidth = 2000000000;
    CHECK(rina_flow_alloc(NULL, "a", "refused", &spec, 0) == -1 && errno == ENOTSUP);
    close(fd);
}

static void* echo_one(void* flow) {
    int fd = (int)(long)flow;
    char buffer[2048];
    ssize_t size;
    while ((size = read(fd, buffer, sizeof buffer)) > 0)
        CHECK(write(fd, buffer, (size_t)size) == size);
    CHECK(size == 0);
    close(fd);
    return NULL;
}

enum { kThreads = 8, kRounds = 20 };

static void* accept_some(void* listener) {
    for (int i = 0; i < kRounds; ++i) {
        int flow = rina_flow_accept((int)(long)listener, NULL, NULL, 0);
        CHECK(flow >= 0);
        echo_one((void*)(long)flow);
    }
    return NULL;
}

static void* ask_some(void* number) {
    struct rina_flow_spec spec = reliable();
    for (int i = 0; i < kRounds; ++i) {
        char text[64];
        snprintf(text, sizeof text, "thread %ld round %d", (long)number, i);
        int flow = rina_flow_alloc(NULL, text, "threads", &spec, 0);
        CHECK(flow >= 0);
        for (int j = 0; j < 10; ++j) {
            say(flow, text);
            hear(flow, text);
        }
        close(flow);
    }
    return NULL;
}

// Many threads on one open descriptor, as many asking.
static void threads(void) {
    long listener = listen_as("threads");
    pthread_t all[2 * kThreads];
    for (long i = 0; i < kThreads; ++i) {
        CHECK(pthread_create(&all[2 * i], NULL, accept_some, (void*)listener) == 0);
        CHECK(pthread_create(&all[2 * i + 1], NULL, ask_some, (void*)i) == 0);
    }
    for (int i = 0; i < 2 * kThreads; ++i) CHECK(pthread_join(all[i], NULL) == 0);
    close((int)listener);
}

// Descriptors of the parent, used by its children at the same time.
static void forks(void) {
    int listener = listen_as("forks");
    pid_t children[4];
    for (int i = 0; i < 4; ++i) {
        children[i] = fork();
        if (children[i] != 0) continue;
        for (;;) {
            int flow = rina_flow_accept(listener, NULL, NULL, 0);
            CHECK(flow >= 0);
            char buffer[64];
            ssize_t size = read(flow, buffer, sizeof buffer);
            CHECK(size > 0);
            CHECK(write(flow, buffer, (size_t)size) == size);
            hear_end(flow);
            close(flow);
            if (size == 4) exit(0);
        }
    }
    struct rina_flow_spec spec = reliable();
    for (int i = 0; i < 40; ++i) {
        int flow = rina_flow_alloc(NULL, "f", "forks", &spec, 0);
        CHECK(flow >= 0);
        const char* text = i < 36 ? "again" : "stop";
        // Written by a child, read by us.
        pid_t writer = fork();
        if (writer == 0) {
            say(flow, text);
            exit(0);
        }
        hear(flow, text);
        CHECK(waitpid(writer, NULL, 0) == writer);
        close(flow);
    }
    for (int i = 0; i < 4; ++i) {
        int status = 0;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    // Registered by a child, and still there when it has gone: the descriptor is the parent's too.
    pid_t child = fork();
    if (child == 0) {
        CHECK(rina_register(listener, NULL, "forks|more", 0) == 0);
        exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child);
    int ends[2];
    pair(listener, "forks|more", &spec, ends);
    close(ends[0]);
    hear_end(ends[1]);
    close(ends[1]);
    close(listener);
}

// Says that it is about to wait for something that does not come, until the server is killed.
static void block(const char* where) {
    int listener = listen_as("block");
    struct rina_flow_spec spec = reliable();
    int ends[2];
    pair(listener, "block", &spec, ends);
    int wait = rina_flow_alloc(NULL, "x", "block", NULL, RINA_F_NOWAIT);
    CHECK(wait >= 0);
    printf("blocked\n");
    fflush(stdout);
    if (strcmp(where, "alloc") == 0) {
        CHECK(rina_flow_alloc(NULL, "y", "block", NULL, 0) == -1);
    } else if (strcmp(where, "alloc_wait") == 0) {
        CHECK(rina_flow_alloc_wait(wait) == -1 && errno == ECONNRESET);
    } else if (strcmp(where, "read") == 0) {
        hear_end(ends[0]);
        CHECK(write(ends[0], "x", 1) == -1 && errno == EPIPE);
    } else if (strcmp(where, "write") == 0) {
        char bytes[1000] = {0};
        while (write(ends[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes) continue;
        CHECK(errno == EPIPE || errno == ECONNRESET);
    } else {
        // Those that wait already are answered first.
        int result;
        while ((result = rina_flow_accept(listener, NULL, NULL, RINA_F_NORESP)) > 0) continue;
        CHECK(result == -1 && errno == ECONNRESET);
    }
    CHECK(rina_register(listener, NULL, "more", 0) == -1);
    CHECK(rina_open() == -1 && (errno == ECONNREFUSED || errno == ENOENT));
    CHECK(rina_flow_alloc(NULL, "y", "block", NULL, 0) == -1);
}

int main(int argc, char** argv) {
    const char* name = argc > 1 ? argv[1] : "";
    alarm(60);
    if (strcmp(name, "basic") == 0) basic();
    else if (strcmp(name, "nowait") == 0) nowait();
    else if (strcmp(name, "noresp") == 0) noresp();
    else if (strcmp(name, "limits") == 0) limits();
    else if (strcmp(name, "small") == 0) small();
    else if (strcmp(name, "refused") == 0) refused();
    else if (strcmp(name, "threads") == 0) threads();
    else if (strcmp(name, "forks") == 0) forks();
    else if (strcmp(name, "block") == 0 && argc > 2) block(argv[2]);
    else return 2;
    return 0;
}
