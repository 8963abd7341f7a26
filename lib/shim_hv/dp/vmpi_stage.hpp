#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "dataplane/flow_gate.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/port_stages.hpp"
#include "dataplane/punt.hpp"
#include "dataplane/stage.hpp"
#include "shim_hv/core/data_plane.hpp"
#include "shim_hv/dp/vmpi_impl.hpp"

namespace sluice::shim_hv {

// What the data plane gets back with each SDU of a flow (VmpiData's cookie): the outlet of the
// stage it goes to, and the number under which that stage knows the flow.
constexpr std::uint32_t flow_cookie(unsigned outlet, std::uint32_t slot) noexcept {
    return outlet << 24 | (slot & 0x00ff'ffff);
}
constexpr unsigned outlet_of(std::uint32_t cookie) noexcept { return cookie >> 24; }
constexpr std::uint32_t slot_of(std::uint32_t cookie) noexcept { return cookie & 0x00ff'ffff; }

// Mail of the device's control half. Pointers stay the sender's until acked() has passed them,
// except a packet to send, which is the stage's from then on.
enum class VmpiMail : std::uint32_t { set_epochs = 1, bind, grant, unbind, send };

// Punt: a control message (the packet).
inline constexpr std::uint32_t kPuntVmpiControl = 1;

// VMPI-HL on its lcore: one device's frames to SDUs of flows and back. Source (frames from the low
// level; PduMeta::port_id of what it emits is the flow's slot) and stage (inlet 0: SDUs to send,
// PduMeta::port_id is the channel).
class VmpiStage : public dp::Stage {
  public:
    struct Options {
        VmpiData::Params data;
        rte_mempool* pool = nullptr;
        dp::Punt* punt = nullptr;
        std::uint32_t punt_quota = 64;
        unsigned backlog = 512;  // frames that wait for a full ring
        // Without credits (profile irati) the backlog is given up after this.
        Duration patience = Duration::milliseconds(1);
    };
    VmpiStage(VmpiLowLevel& low_level, const Options& options);
    ~VmpiStage() override;

    static dp::KindInfo kind(unsigned outlets);
    enum Count : unsigned {
        kRxBytes, kTxPackets, kTxBytes, kRxSdus, kTxSdus, kRxControl, kCreditsSent,
    };

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;
    void on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept override;
    void on_timeout(dp::LoopCtx& ctx) noexcept override;
    dp::Busy drain(dp::LoopCtx& ctx) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;
    unsigned room(unsigned inlet) const noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;
    void wait_disarm(dp::LoopCtx& ctx) noexcept override;

    // Any thread: how many mails have been carried out.
    std::uint64_t acked() const noexcept { return acked_.load(std::memory_order_acquire); }
    // Any thread: when the last frame came.
    Instant last_frame() const noexcept {
        return {last_frame_ns_.load(std::memory_order_relaxed)};
    }

  private:
    struct Path {
        dp::FlowGate* gate = nullptr;
        bool lagging = false;  // delivered, not yet consumed: look again
    };

    // A burst in which every frame is a long one of the same flow.
    bool poll_run(dp::LoopCtx& ctx, std::span<const VmpiView> views) noexcept;

    struct Sorted {
        std::array<std::uint16_t, dp::kRxBurst> which;
        std::array<Verdict, dp::kRxBurst> verdicts;
        unsigned count = 0;
    };

    void deliver(dp::LoopCtx& ctx, const Sorted& sorted, rte_mbuf** packets,
                 unsigned count) noexcept;
    void settle(std::uint32_t channel) noexcept;
    void punt(dp::LoopCtx& ctx, rte_mbuf* packet) noexcept;
    void credit_message(dp::LoopCtx& ctx, std::span<const std::byte> message) noexcept;
    void send_credits(dp::LoopCtx& ctx) noexcept;
    void after_work(dp::LoopCtx& ctx) noexcept;
    // `bytes`: of all frames together.
    void transmit(dp::LoopCtx& ctx, rte_mbuf** frames, unsigned count,
                  std::uint64_t bytes) noexcept;
    bool send_run(dp::LoopCtx& ctx, dp::Burst& burst) noexcept;
    void keep(dp::LoopCtx& ctx, rte_mbuf** frames, unsigned count) noexcept;
    void send_backlog(dp::LoopCtx& ctx) noexcept;
    void drop_backlog(dp::LoopCtx& ctx, DropReason reason) noexcept;
    void ask_for_starved(dp::LoopCtx& ctx) noexcept;

    VmpiLowLevel& low_level_;
    const Options options_;
    VmpiData data_;
    dp::PuntQuota quota_;
    dp::PacketTap* tap_ = nullptr;
    std::vector<Path> paths_;             // by channel
    std::vector<std::uint32_t> bound_;    // channels, no order
    std::vector<std::uint32_t> lagging_;  // channels, each once
    std::vector<rte_mbuf*> backlog_;      // a ring
    const unsigned backlog_mask_;
    unsigned backlog_head_ = 0;
    unsigned backlog_count_ = 0;
    Instant stuck_since_ = Instant::never();
    Instant deadline_ = Instant::never();
    Instant next_look_{};  // at flows that starve
    std::atomic<std::uint64_t> acked_{0};
    std::atomic<std::int64_t> last_frame_ns_{0};
};

}  // namespace sluice::shim_hv
