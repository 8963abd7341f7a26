#pragma once

#include <pthread.h>
#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/stage.hpp"
#include "stages/params.hpp"
#include "stages/pcap_file.hpp"

namespace sluice::stages {

// Writes packets to a capture file and frees them. Writing is the work of a thread of its own,
// which gets the packets over a ring: an lcore makes no system calls. What the ring does not take
// is dropped and counted. The destructor writes what is still queued.
class PcapOut : public dp::Stage {
  public:
    static constexpr std::uint32_t kSnapLenMax = 262144;

    static Result<std::unique_ptr<dp::Stage>> make(const Values& values);
    ~PcapOut() override;
    PcapOut(const PcapOut&) = delete;
    PcapOut& operator=(const PcapOut&) = delete;

    static dp::KindInfo kind();
    static std::span<const ParamDesc> params() noexcept;
    static std::uint32_t mbufs_held(const Values& values);

    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;
    void on_timeout(dp::LoopCtx& ctx) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;
    unsigned room(unsigned inlet) const noexcept override;

    enum Count : unsigned { kBytes, kWritten };

    // Any thread: packets in the file (or its buffer), and lost because it could not be written.
    std::uint64_t written() const noexcept { return written_.load(std::memory_order_relaxed); }
    std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

  private:
    struct Item {
        rte_mbuf* packet;
        std::int64_t ns;  // on the lcores' clock
    };

    PcapOut(std::unique_ptr<PcapDump> dump, rte_ring* ring, std::uint32_t snaplen);
    Result<> launch();
    static void* run_writer(void* self);
    void run() noexcept;
    void write(const Item& item, std::int64_t epoch_offset) noexcept;
    void collect(dp::LoopCtx& ctx) noexcept;

    std::unique_ptr<PcapDump> dump_;
    rte_ring* const ring_;
    const std::uint32_t snaplen_;
    std::unique_ptr<std::byte[]> linear_;  // for packets of several segments
    bool broken_ = false;                  // the thread's
    std::atomic<bool> quit_{false};
    std::atomic<std::uint64_t> written_{0};
    std::atomic<std::uint64_t> lost_{0};
    // What of these the lcore has entered into its counters.
    std::uint64_t written_counted_ = 0;
    std::uint64_t lost_counted_ = 0;
    bool collecting_ = false;
    bool launched_ = false;
    pthread_t thread_{};
};

}  // namespace sluice::stages
