#include "capture/capture_tap.hpp"

#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>

#include <algorithm>

#include "dataplane/stage.hpp"

namespace sluice::capture {
namespace {

constexpr std::uint32_t kHeader = static_cast<std::uint32_t>(pcap::kRecordHeaderBytes);

// Not rte_ring_create: that one wants names that are unique in the process.
rte_ring* make_ring(unsigned elements, int socket) {
    const unsigned size = rte_align32pow2(elements + 1);
    void* memory = rte_zmalloc_socket("capture_ring", static_cast<std::size_t>(
                                          rte_ring_get_memsize(size)), RTE_CACHE_LINE_SIZE, socket);
    auto* ring = static_cast<rte_ring*>(memory);
    if (ring == nullptr) return nullptr;
    if (rte_ring_init(ring, "capture", size, RING_F_SP_ENQ | RING_F_SC_DEQ) != 0) {
        rte_free(memory);
        return nullptr;
    }
    return ring;
}

// The first `length` bytes of a packet; less if its segments hold less than it says.
std::uint32_t copy_out(const rte_mbuf* packet, std::byte* to, std::uint32_t length) noexcept {
    std::uint32_t done = 0;
    for (const rte_mbuf* m = packet; m != nullptr && done < length; m = m->next) {
        const std::uint32_t n = std::min<std::uint32_t>(m->data_len, length - done);
        rte_memcpy(to + done, rte_pktmbuf_mtod(m, const void*), n);
        done += n;
    }
    return done;
}

}  // namespace

CaptureTap::CaptureTap(const CaptureConfig& config, const WallClock& clock, Doorbell& doorbell)
    : clock_(clock),
      doorbell_(doorbell),
      resolution_(config.resolution),
      snaplen_(config.snaplen),
      chunk_bytes_(config.chunk_bytes),
      socket_(config.socket < 0 ? SOCKET_ID_ANY : config.socket),
      chunks_(config.chunks) {
    fill_.bytes = chunk_bytes_;
}

Result<std::unique_ptr<CaptureTap>> CaptureTap::create(const CaptureConfig& config,
                                                       const WallClock& clock,
                                                       Doorbell& doorbell) {
    SLUICE_TRY(const CaptureConfig c, checked(config));
    std::unique_ptr<CaptureTap> tap(new CaptureTap(c, clock, doorbell));
    SLUICE_TRY_VOID(tap->init());
    return tap;
}

Result<> CaptureTap::init() {
    const auto count = static_cast<unsigned>(chunks_.size());
    const std::size_t bytes = std::size_t{chunk_bytes_} * count;
    memory_ = rte_malloc_socket("capture_chunks", bytes, kChunkAlign, socket_);
    free_ = make_ring(count, socket_);
    opened_ = make_ring(count, socket_);
    if (memory_ == nullptr || free_ == nullptr || opened_ == nullptr)
        return fail(ENOMEM, "capture: no memory for {} chunks of {} bytes; expected {} MiB free in "
                    "DPDK's heap (EAL -m), or fewer chunks", count, chunk_bytes_,
                    (bytes >> 20) + 1);
    for (unsigned i = 0; i < count; ++i) {
        chunks_[i].data = static_cast<std::byte*>(memory_) + std::size_t{chunk_bytes_} * i;
        give_back(&chunks_[i]);
    }
    return {};
}

CaptureTap::~CaptureTap() {
    rte_free(opened_);
    rte_free(free_);
    rte_free(memory_);
}

Chunk* CaptureTap::next_opened() noexcept {
    void* chunk = nullptr;
    return rte_ring_sc_dequeue(opened_, &chunk) == 0 ? static_cast<Chunk*>(chunk) : nullptr;
}

void CaptureTap::give_back(Chunk* chunk) noexcept {
    // Both rings are larger than the number of chunks.
    static_cast<void>(rte_ring_sp_enqueue(free_, chunk));
}

bool CaptureTap::open_chunk() noexcept {
    if (chunk_ != nullptr) {
        fill_.sealed = true;
        chunk_->commit(fill_);
        chunk_ = nullptr;
        fill_ = {chunk_bytes_, 0, false};
        doorbell_.ring();
    }
    void* chunk = nullptr;
    if (rte_ring_sc_dequeue(free_, &chunk) != 0) return false;
    chunk_ = static_cast<Chunk*>(chunk);
    fill_ = {};
    chunk_->commit(fill_);
    static_cast<void>(rte_ring_sp_enqueue(opened_, chunk));
    return true;
}

std::uint32_t CaptureTap::append(const rte_mbuf* packet, std::uint32_t kept,
                                 pcap::Stamp stamp) noexcept {
    std::byte* const at = chunk_->data + fill_.bytes;
    const std::uint32_t copied = copy_out(packet, at + kHeader, kept);
    pcap::put_record_header(at, stamp, copied, packet->pkt_len);
    fill_.bytes += kHeader + copied;
    ++fill_.records;
    return copied;
}

void CaptureTap::tap(dp::LoopCtx& ctx, rte_mbuf* const* packets, unsigned count,
                     dp::Direction) noexcept {
    // One time for the burst: the loop's, which is when its packets were found.
    last_ns_ = std::max(last_ns_, clock_.wall_ns(ctx.now));
    const pcap::Stamp stamp = pcap::stamp_of(last_ns_, resolution_);
    std::uint64_t bytes = 0;
    unsigned lost = 0;
    for (unsigned i = 0; i < count; ++i) {
        const std::uint32_t kept = std::min(packets[i]->pkt_len, snaplen_);
        if (chunk_bytes_ - fill_.bytes < kHeader + kept && !open_chunk()) [[unlikely]] {
            ++lost;
            continue;
        }
        bytes += append(packets[i], kept, stamp);
    }
    counters_.received.add(count);
    counters_.no_buffer.add(lost);
    counters_.recorded.add(count - lost);
    counters_.bytes.add(bytes);
    if (chunk_ != nullptr) chunk_->commit(fill_);
    // After the commit: who sees this stamp also sees the records before it.
    complete_to_.store(last_ns_, std::memory_order_release);
}

}  // namespace sluice::capture
