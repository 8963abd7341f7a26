#include <liburing.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "pcap_writer/block_io.hpp"

namespace sluice::pcap {
namespace {

constexpr std::size_t kRegionBytes = std::size_t{1} << 30;  // the kernel's limit for one buffer

class UringIo final : public BlockIo {
  public:
    UringIo(std::span<std::byte> buffers, unsigned depth) : buffers_(buffers), depth_(depth) {}
    ~UringIo() override {
        if (up_) io_uring_queue_exit(&ring_);
    }

    Result<> init(std::span<const unsigned> worker_cpus) {
        const int error = io_uring_queue_init(depth_, &ring_, 0);
        if (error != 0)
            return fail(-error, "io_uring is refused: {}", std::strerror(-error));
        up_ = true;
        std::vector<iovec> regions;
        for (std::size_t at = 0; at < buffers_.size(); at += kRegionBytes)
            regions.push_back({buffers_.data() + at,
                               std::min(kRegionBytes, buffers_.size() - at)});
        // Without it (a low RLIMIT_MEMLOCK) each write pins its pages by itself.
        registered_ = !regions.empty() &&
                      io_uring_register_buffers(&ring_, regions.data(),
                                                static_cast<unsigned>(regions.size())) == 0;
        if (!worker_cpus.empty()) {
            cpu_set_t set;
            CPU_ZERO(&set);
            for (const unsigned cpu : worker_cpus) CPU_SET(cpu, &set);
            // Older kernels (before 5.14) have no say in this.
            static_cast<void>(io_uring_register_iowq_aff(&ring_, sizeof(set), &set));
        }
        return {};
    }

    unsigned room() const noexcept override { return depth_ - in_flight_; }

    void submit(int fd, std::span<const std::byte> bytes, std::uint64_t offset,
                std::uint64_t cookie) noexcept override {
        io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
        const auto size = static_cast<unsigned>(bytes.size());
        const auto into = static_cast<std::size_t>(bytes.data() - buffers_.data());
        // A piece that reaches over the end of a region belongs to none.
        if (registered_ && into / kRegionBytes == (into + size - 1) / kRegionBytes)
            io_uring_prep_write_fixed(sqe, fd, bytes.data(), size, offset,
                                      static_cast<int>(into / kRegionBytes));
        else
            io_uring_prep_write(sqe, fd, bytes.data(), size, offset);
        io_uring_sqe_set_data64(sqe, cookie);
        ++in_flight_;
        ++unsubmitted_;
    }

    unsigned poll(std::span<Completion> out) noexcept override {
        if (unsubmitted_ != 0) {
            const int n = io_uring_submit(&ring_);
            if (n > 0) unsubmitted_ -= std::min(unsubmitted_, static_cast<unsigned>(n));
        }
        unsigned count = 0;
        io_uring_cqe* cqe = nullptr;
        while (count < out.size() && in_flight_ != 0 && io_uring_peek_cqe(&ring_, &cqe) == 0) {
            out[count++] = {io_uring_cqe_get_data64(cqe), cqe->res};
            io_uring_cqe_seen(&ring_, cqe);
            --in_flight_;
        }
        return count;
    }

    bool direct() const noexcept override { return true; }
    bool blocks() const noexcept override { return false; }
    const char* name() const noexcept override { return "uring"; }

  private:
    std::span<std::byte> buffers_;
    const unsigned depth_;
    io_uring ring_{};
    bool up_ = false;
    bool registered_ = false;
    unsigned in_flight_ = 0;
    unsigned unsubmitted_ = 0;
};

}  // namespace

Result<std::unique_ptr<BlockIo>> make_uring_io(std::span<std::byte> buffers, unsigned depth,
                                               std::span<const unsigned> worker_cpus) {
    auto io = std::make_unique<UringIo>(buffers, depth);
    SLUICE_TRY_VOID(io->init(worker_cpus));
    return std::unique_ptr<BlockIo>(std::move(io));
}

}  // namespace sluice::pcap
