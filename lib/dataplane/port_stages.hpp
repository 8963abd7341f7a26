#pragma once

#include <array>
#include <atomic>

#include "dataplane/kind.hpp"
#include "dataplane/port.hpp"
#include "dataplane/stage.hpp"
#include "dataplane/tap.hpp"

namespace sluice::dp {

// Mail: replace the tap (pointer may be null). The old one may be freed after the next quiescent
// state of the lcore.
inline constexpr std::uint32_t kMailSetTap = 0xfffe0001;

// Waiting for a port's receive queue without polling it, by the interrupt of its driver or, for
// vhost, by the kick descriptor of the virtqueue (virtio 1.2, 2.3 notifications). lcore only.
class PortWaiter {
  public:
    explicit PortWaiter(const Port& port, std::uint16_t queue) noexcept
        : port_(port), queue_(queue) {}

    // True if armed. The caller looks for work once more after arming.
    bool arm(int epoll_fd) noexcept;
    void disarm() noexcept;

  private:
    bool arm_vhost(int epoll_fd) noexcept;
    bool arm_ethdev(int epoll_fd) noexcept;

    const Port& port_;
    const std::uint16_t queue_;
    int kick_fd_ = -1;
    int vid_ = -1;
    int epoll_fd_ = -1;  // where the interrupt or kick is attached
    unsigned incarnation_ = 0;  // of the port, when it was
    bool failed_ = false;
    bool armed_ = false;
};

// Receives from one queue of a port.
class PortRx : public Stage {
  public:
    PortRx(const Port& port, std::uint16_t queue) noexcept
        : port_(port), queue_(queue), waiter_(port, queue) {}
    ~PortRx() override;

    static KindInfo kind();

    Busy poll(LoopCtx& ctx) noexcept override;
    void on_mail(LoopCtx& ctx, const Mail& mail) noexcept override;
    Wait wait_arm(LoopCtx& ctx, int epoll_fd) noexcept override;
    void wait_disarm(LoopCtx& ctx) noexcept override;

    enum Count : unsigned { kBytes };

  private:
    const Port& port_;
    const std::uint16_t queue_;
    PortWaiter waiter_;
    PacketTap* tap_ = nullptr;
    // Found by the look after arming; handed on and counted by the next poll. Until then it is as
    // good as in the port's ring, also while forwarding is stopped.
    std::array<rte_mbuf*, kRxBurst> early_{};
    std::uint16_t early_count_ = 0;
};

// Sends to one queue of a port. What the ring does not take is kept, in order, for at most
// `patience`; then it is dropped as tx_ring_full, so that one port that does not drain costs its
// own packets only.
class PortTx : public Stage {
  public:
    struct Options {
        // Of a lossless edge (hold): keep for ever, the stages before feel it.
        bool hold = false;
        Duration patience = Duration::microseconds(200);
    };
    PortTx(const Port& port, std::uint16_t queue, Options options) noexcept
        : port_(port), queue_(queue), options_(options) {}

    static KindInfo kind();

    void process(LoopCtx& ctx, Burst& burst) noexcept override;
    Busy poll(LoopCtx& ctx) noexcept override;
    Busy drain(LoopCtx& ctx) noexcept override { return poll(ctx); }
    void on_mail(LoopCtx& ctx, const Mail& mail) noexcept override;
    void on_stop(LoopCtx& ctx) noexcept override;
    unsigned room(unsigned inlet) const noexcept override;
    Wait wait_arm(LoopCtx& ctx, int epoll_fd) noexcept override;

    enum Count : unsigned { kBytes };

  private:
    static constexpr unsigned kBacklog = 512;

    void keep(LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept;
    bool send_backlog(LoopCtx& ctx) noexcept;

    const Port& port_;
    const std::uint16_t queue_;
    const Options options_;
    PacketTap* tap_ = nullptr;
    std::array<rte_mbuf*, kBacklog> backlog_{};
    unsigned head_ = 0;
    unsigned count_ = 0;
    Instant stuck_since_ = Instant::never();
};

}  // namespace sluice::dp
