#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "pcap_writer/block_io.hpp"

namespace sluice::pcap {
namespace {

constexpr unsigned kDepth = 64;

class PosixIo final : public BlockIo {
  public:
    unsigned room() const noexcept override {
        return kDepth - static_cast<unsigned>(done_.size());
    }

    void submit(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                std::uint64_t cookie) noexcept override {
        std::size_t done = 0;
        std::int64_t error = 0;
        while (done < bytes.size()) {
            ssize_t n = ::pwrite(fd, bytes.data() + done, bytes.size() - done,
                                 static_cast<off_t>(offset + done));
            // A pipe has no offsets, and gets everything in order anyway.
            if (n < 0 && errno == ESPIPE) n = ::write(fd, bytes.data() + done, bytes.size() - done);
            if (n > 0) {
                done += static_cast<std::size_t>(n);
                continue;
            }
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && errno == EAGAIN) {
                if (wait_for(fd)) continue;
                errno = ETIMEDOUT;
            }
            error = n < 0 ? errno : ENOSPC;
            break;
        }
        done_.push_back({cookie, error != 0 ? -error : static_cast<std::int64_t>(done)});
    }

    unsigned poll(std::span<Completion> out) noexcept override {
        unsigned count = 0;
        for (; count < out.size() && !done_.empty(); ++count) {
            out[count] = done_.front();
            done_.pop_front();
        }
        return count;
    }

    void hurry() noexcept override { __atomic_store_n(&hurry_, true, __ATOMIC_RELAXED); }
    bool direct() const noexcept override { return false; }
    bool blocks() const noexcept override { return true; }
    const char* name() const noexcept override { return "posix"; }

  private:
    // A pipe that is full. False: nobody reads, and we are to come to an end.
    bool wait_for(int fd) const noexcept {
        constexpr int kSliceMs = 100;
        constexpr int kSlicesAtMost = 20;
        for (int idle = 0; idle < kSlicesAtMost;) {
            pollfd p{fd, POLLOUT, 0};
            if (::poll(&p, 1, kSliceMs) != 0) return true;
            if (__atomic_load_n(&hurry_, __ATOMIC_RELAXED)) ++idle;
        }
        return false;
    }

    std::deque<Completion> done_;
    bool hurry_ = false;  // set by another thread
};

class NullIo final : public BlockIo {
  public:
    unsigned room() const noexcept override {
        return kDepth - static_cast<unsigned>(done_.size());
    }
    void submit(int, std::span<const std::byte> bytes, std::uint64_t,
                std::uint64_t cookie) noexcept override {
        done_.push_back({cookie, static_cast<std::int64_t>(bytes.size())});
    }
    unsigned poll(std::span<Completion> out) noexcept override {
        unsigned count = 0;
        for (; count < out.size() && !done_.empty(); ++count) {
            out[count] = done_.front();
            done_.pop_front();
        }
        return count;
    }
    bool direct() const noexcept override { return false; }
    bool blocks() const noexcept override { return false; }
    const char* name() const noexcept override { return "none"; }

  private:
    std::deque<Completion> done_;
};

}  // namespace

std::unique_ptr<BlockIo> make_null_io() { return std::make_unique<NullIo>(); }

std::unique_ptr<BlockIo> make_posix_io() { return std::make_unique<PosixIo>(); }

}  // namespace sluice::pcap
