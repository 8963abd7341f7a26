#pragma once

#include <rte_ring.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "capture/capture_config.hpp"
#include "capture/chunk.hpp"
#include "capture/doorbell.hpp"
#include "capture/wall_clock.hpp"
#include "dataplane/counters.hpp"
#include "dataplane/tap.hpp"

namespace sluice::capture {

// What a tap has seen: received = recorded + no_buffer. Its own and not its stage's, since a
// packet that is missing in a capture is not lost.
struct alignas(64) TapCounters {
    dp::Counter received;  // packets offered
    dp::Counter recorded;  // copied into a chunk
    dp::Counter bytes;     // of the recorded ones, as cut by snaplen
    dp::Counter no_buffer;
};

// Copies packets, once, to where the writer takes them from. A tap belongs to one lcore; made by
// Capture::add_tap().
class CaptureTap final : public dp::PacketTap {
  public:
    static Result<std::unique_ptr<CaptureTap>> create(const CaptureConfig& config,
                                                      const WallClock& clock, Doorbell& doorbell);
    ~CaptureTap() override;
    CaptureTap(const CaptureTap&) = delete;
    CaptureTap& operator=(const CaptureTap&) = delete;

    void tap(dp::LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
             dp::Direction direction) noexcept override;

    const TapCounters& counters() const noexcept { return counters_; }
    std::size_t chunk_count() const noexcept { return chunks_.size(); }

    // Writer: the chunks in the order in which they were opened.
    Chunk* next_opened() noexcept;
    // Writer: when all of a sealed chunk is in the file.
    void give_back(Chunk* chunk) noexcept;
    // Writer: every record that it cannot see yet will have this stamp or a later one.
    std::int64_t complete_to() const noexcept {
        return complete_to_.load(std::memory_order_acquire);
    }

  private:
    CaptureTap(const CaptureConfig& config, const WallClock& clock, Doorbell& doorbell);
    Result<> init();
    bool open_chunk() noexcept;
    std::uint32_t append(const rte_mbuf* packet, std::uint32_t kept, pcap::Stamp stamp) noexcept;

    const WallClock& clock_;
    Doorbell& doorbell_;
    const pcap::Resolution resolution_;
    const std::uint32_t snaplen_;
    const std::uint32_t chunk_bytes_;
    const int socket_;

    std::vector<Chunk> chunks_;
    void* memory_ = nullptr;
    rte_ring* free_ = nullptr;    // writer to tap
    rte_ring* opened_ = nullptr;  // tap to writer

    // lcore only
    Chunk* chunk_ = nullptr;   // the open one
    ChunkFill fill_{};         // of it; without one, bytes is at the end, so that nothing fits
    std::int64_t last_ns_ = 0;  // stamps do not run backwards

    TapCounters counters_;
    std::atomic<std::int64_t> complete_to_{0};
};

}  // namespace sluice::capture
