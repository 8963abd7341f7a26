#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.hpp"

namespace sluice::pcap {

// Writes large pieces to files, several at a time. For one thread.
class BlockIo {
  public:
    struct Completion {
        std::uint64_t cookie = 0;
        std::int64_t result = 0;  // bytes written, or -errno
    };

    virtual ~BlockIo() = default;

    // How many more submit() takes now.
    virtual unsigned room() const noexcept = 0;
    // The bytes must stay as they are until the completion with this cookie has come. There must
    // be room.
    virtual void submit(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                        std::uint64_t cookie) noexcept = 0;
    // What has been submitted is started, and what has ended is told; both without waiting.
    virtual unsigned poll(std::span<Completion> out) noexcept = 0;
    // From now on a reader that takes nothing for some seconds is not waited for. Any thread.
    virtual void hurry() noexcept {}
    // Whether files should be opened with O_DIRECT: then offset, length and address of what is
    // written must be multiples of 4096.
    virtual bool direct() const noexcept = 0;
    // Whether submit() may block, so that it has no place on a polling lcore.
    virtual bool blocks() const noexcept = 0;
    virtual const char* name() const noexcept = 0;
};

// io_uring (Linux 5.6 on). `buffers`: where everything that is written lies; registered, so that
// its pages are pinned once. `worker_cpus`: where the kernel's helpers may run if it needs some;
// empty: anywhere. Fails where the kernel or a container's policy refuses it.
Result<std::unique_ptr<BlockIo>> make_uring_io(std::span<std::byte> buffers, unsigned depth,
                                               std::span<const unsigned> worker_cpus);

// pwrite(), or write() where the file is a pipe: done when submit() returns.
std::unique_ptr<BlockIo> make_posix_io();

// Writes nothing, at once.
std::unique_ptr<BlockIo> make_null_io();

}  // namespace sluice::pcap
