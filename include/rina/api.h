#pragma once

// The application interface of RINA programs, with the names and the meaning that rlite gives them,
// for C11 and C++. Link with -lrina-api; pkg-config knows it as rina-api.
//
// A function that fails returns -1 and sets errno. Nothing here keeps state in the process: all of
// it may be used in several threads at once, and descriptors stay good across fork() and when they
// are passed to another process.
//
// Names are "process|instance|entity|entity-instance"; empty parts at the end and their bars may be
// left out. SLUICE_API in the environment is the socket of the IPC processes' server; without it
// that is /run/sluice/api.sock.

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RINA_FLOW_SPEC_VERSION 2
#define RINA_FLOW_SPEC_LOSS_MAX 10000

// What a flow is asked to be like. Zero is "whatever comes" but where it says otherwise.
struct rina_flow_spec {
    uint32_t version;           // RINA_FLOW_SPEC_VERSION
    uint32_t max_delay;         // microseconds
    uint64_t max_sdu_gap;       // SDUs that may miss in a row: 0 is reliable, all ones is any
    uint64_t avg_bandwidth;     // bits per second
    uint16_t max_loss;          // 0 to RINA_FLOW_SPEC_LOSS_MAX: 0 to 100 %
    uint8_t in_order_delivery;  // not 0: SDUs arrive in the order in which they were written
    uint8_t msg_boundaries;     // not 0: one write is one read
    uint32_t max_jitter;        // microseconds
};

// For `flags`.
#define RINA_F_NOWAIT 1
#define RINA_F_NORESP 2

// A descriptor for registrations and for the requests of flows that come in; poll(), select() and
// epoll say that it can be read when a request waits. Closing it unregisters what it registered.
int rina_open(void);

// 0. With RINA_F_NOWAIT a descriptor that can be read when the answer is there: give it to
// rina_register_wait(). `dif_name` is advice; NULL lets the system choose.
int rina_register(int fd, const char* dif_name, const char* local_appl, int flags);
int rina_unregister(int fd, const char* dif_name, const char* local_appl, int flags);
// Takes the answer and closes `wfd`. EAGAIN leaves it open: non-blocking, and nothing there yet.
int rina_register_wait(int fd, int wfd);

// The next request for a flow: accepts it and returns the flow; with RINA_F_NORESP a handle (> 0)
// to decide with, by rina_flow_respond(). EAGAIN if `fd` is non-blocking and nothing waits. Either
// pointer may be NULL; `*remote_appl` is to be freed with free().
int rina_flow_accept(int fd, char** remote_appl, struct rina_flow_spec* spec, unsigned int flags);
// `response` 0 accepts and returns the flow; anything else refuses and returns 0.
int rina_flow_respond(int fd, int handle, int response);

// A flow to `remote_appl`. With RINA_F_NOWAIT a descriptor that can be read when the answer is
// there: give it to rina_flow_alloc_wait(); closing it gives the flow up. A `flowspec` of NULL is
// best effort.
int rina_flow_alloc(const char* dif_name, const char* local_appl, const char* remote_appl,
                    const struct rina_flow_spec* flowspec, unsigned int flags);
// The flow; closes `wfd`. EAGAIN leaves it open, as above.
int rina_flow_alloc_wait(int wfd);

// Best effort: any gap, any loss, message boundaries.
void rina_flow_spec_unreliable(struct rina_flow_spec* spec);
#define rina_flow_spec_default rina_flow_spec_unreliable

// The longest SDU that one write() takes; 0 with errno if `fd` is no flow.
unsigned int rina_flow_mss_get(int fd);

// A flow is a descriptor for read(), write(), poll(), select(), epoll, fcntl(O_NONBLOCK), close():
//   one call is one SDU; a buffer that is too short for read() loses the rest of that SDU
//   write() of more than rina_flow_mss_get() fails with EMSGSIZE; where that is less than some 4.5
//     kB, which the kernel cannot be told, the flow ends, and the next write() gives EPIPE
//   write() of no bytes sends nothing
//   a full flow blocks, or gives EAGAIN
//   read() gives 0 when the peer has deallocated the flow and everything from it has been read
//   close() deallocates it, after what was written before

#ifdef __cplusplus
}
#endif
