#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "ipc_api/fd.hpp"

namespace sluice::ipc_api {

struct FlowSocketOptions {
    std::uint32_t max_sdu = 65000;
    // What may wait for the application to read it, in bytes as the kernel counts them (a 64-byte
    // SDU counts as 768).
    std::uint32_t to_app_bytes = 512u << 10;
    // What may wait for us, where max_sdu is too small for the kernel to hold the application to.
    // For larger ones the limit on an SDU is the limit on the queue.
    std::uint32_t from_app_bytes = 208u << 10;
};

struct FlowSocketCounters {
    std::uint64_t sdus_from_app = 0;
    std::uint64_t bytes_from_app = 0;
    std::uint64_t sdus_to_app = 0;
    std::uint64_t bytes_to_app = 0;
    std::uint64_t empty_from_app = 0;  // writes of no bytes, which send nothing
    std::uint64_t empty_to_app = 0;    // empty SDUs cannot be told from the end of the flow
    std::uint64_t too_long = 0;        // from the application: its flow was ended for that
    std::uint64_t discarded = 0;       // the application, or the flow, was not there any more
    std::uint64_t undeliverable = 0;   // SDUs longer than our send buffer
};

// Our end of a flow of an application: bursts of SDUs in and out, never blocking. It has one owner
// at a time, which may be any thread: nothing here touches the control socket.
class FlowSocket {
  public:
    // Where an SDU of the application goes. `room` is max_sdu() at least.
    struct Slot {
        std::byte* bytes = nullptr;
        std::uint32_t room = 0;
        std::uint32_t length = 0;  // set by read()
    };
    enum class State : std::uint8_t {
        open,
        closed_by_app,  // and everything from it has been read
        too_long,       // it wrote an SDU longer than the flow takes
        finished,       // by us
    };
    static constexpr std::size_t kBurstMax = 64;

    static Result<FlowSocket> open(const FlowSocketOptions& options, OwnedFd& application);
    FlowSocket(FlowSocket&&) noexcept = default;
    FlowSocket& operator=(FlowSocket&& other) noexcept;
    ~FlowSocket();

    // For epoll: EPOLLIN when read() has something, which may be the end; EPOLLOUT when write() has
    // room again. EPOLLHUP comes unasked, for ever, once the application has closed: take the
    // descriptor out of the epoll while you neither read nor write.
    int fd() const noexcept { return fd_.get(); }
    // May be less than was asked for, if the kernel does not allow buffers of that size.
    std::uint32_t max_sdu() const noexcept { return max_sdu_; }
    State state() const noexcept { return state_; }
    const FlowSocketCounters& counters() const noexcept { return counters_; }

    // SDUs that the application has written, into the first slots; how many. As many slots as there
    // is credit for: what is not read waits, and then the application's write() waits.
    std::size_t read(std::span<Slot> slots) noexcept;
    // How many of the first SDUs were taken. Fewer means that the application does not read: hold
    // the rest and try again on EPOLLOUT.
    std::size_t write(std::span<const iovec> sdus) noexcept;
    // The peer has deallocated the flow and all from it was written: the application reads the
    // rest, then 0; its write() fails. What it wrote and we have not read is discarded.
    void finish() noexcept;

  private:
    FlowSocket(OwnedFd fd, std::uint32_t max_sdu) noexcept
        : fd_(std::move(fd)), max_sdu_(max_sdu) {}
    bool application_closed() const noexcept;
    void discard_waiting() noexcept;

    OwnedFd fd_;
    std::uint32_t max_sdu_ = 0;
    State state_ = State::open;
    FlowSocketCounters counters_;
};

}  // namespace sluice::ipc_api
