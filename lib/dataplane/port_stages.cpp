#include "dataplane/port_stages.hpp"

#include <rte_eth_vhost.h>
#include <rte_vhost.h>
#include <sys/epoll.h>

#include <algorithm>

namespace sluice::dp {
namespace {

std::uint64_t bytes_of(rte_mbuf* const* packets, unsigned count) noexcept {
    std::uint64_t bytes = 0;
    for (unsigned i = 0; i < count; ++i) bytes += packets[i]->pkt_len;
    return bytes;
}

}  // namespace

bool PortWaiter::arm(int epoll_fd) noexcept {
    armed_ = port_.is_vhost() ? arm_vhost(epoll_fd) : arm_ethdev(epoll_fd);
    return armed_;
}

bool PortWaiter::arm_vhost(int epoll_fd) noexcept {
    // Without a peer there is nothing to wait for; the lcore looks again when it wakes anyway.
    kick_fd_ = -1;
    if (!port_.link_up()) return true;
    vid_ = rte_eth_vhost_get_vid_from_port_id(port_.id());
    if (vid_ < 0) return true;
    const auto vring = static_cast<std::uint16_t>(queue_ * 2 + 1);
    rte_vhost_vring info{};
    if (rte_vhost_get_vhost_vring(vid_, vring, &info) != 0 || info.kickfd < 0) return true;
    // A new plan may have moved the stage, and the other lcore is not to be woken for it.
    if (epoll_fd_ != epoll_fd && epoll_fd_ >= 0)
        epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, info.kickfd, nullptr);
    epoll_fd_ = epoll_fd;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.fd = info.kickfd;
    // A new connection has a new descriptor, and closing the old one took it out of the set.
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, info.kickfd, &event) != 0 && errno != EEXIST)
        return false;
    if (rte_vhost_enable_guest_notification(vid_, vring, 1) != 0) return false;
    kick_fd_ = info.kickfd;
    return true;
}

bool PortWaiter::arm_ethdev(int epoll_fd) noexcept {
    // A device that was made anew has new descriptors; closing the old ones took them out.
    if (incarnation_ != port_.incarnation()) {
        incarnation_ = port_.incarnation();
        epoll_fd_ = -1;
        failed_ = false;
    }
    if (failed_ || !port_.interrupts()) return false;
    // A new plan may have moved the stage, and each lcore waits on its own descriptor.
    if (epoll_fd_ != epoll_fd) {
        if (epoll_fd_ >= 0)
            rte_eth_dev_rx_intr_ctl_q(port_.id(), queue_, epoll_fd_, RTE_INTR_EVENT_DEL, nullptr);
        epoll_fd_ = -1;
        if (rte_eth_dev_rx_intr_ctl_q(port_.id(), queue_, epoll_fd, RTE_INTR_EVENT_ADD, nullptr) !=
            0) {
            failed_ = true;
            return false;
        }
        epoll_fd_ = epoll_fd;
    }
    if (rte_eth_dev_rx_intr_enable(port_.id(), queue_) != 0) {
        failed_ = true;
        return false;
    }
    return true;
}

void PortWaiter::disarm() noexcept {
    if (!armed_) return;
    armed_ = false;
    if (!port_.is_vhost()) {
        rte_eth_dev_rx_intr_disable(port_.id(), queue_);
    } else if (kick_fd_ >= 0 && port_.link_up()) {
        rte_vhost_enable_guest_notification(vid_, static_cast<std::uint16_t>(queue_ * 2 + 1), 0);
    }
}

PortRx::~PortRx() { rte_pktmbuf_free_bulk(early_.data(), early_count_); }

KindInfo PortRx::kind() {
    KindInfo k = KindInfo::source_of("port_rx");
    k.counters = {{"bytes", "bytes", "received from the port"}};
    return k;
}

Busy PortRx::poll(LoopCtx& ctx) noexcept {
    rte_mbuf* packets[kRxBurst];
    const auto want =
        static_cast<std::uint16_t>(std::min<unsigned>(kRxBurst, ctx.credit(0)));
    std::uint16_t n = 0;
    if (early_count_ != 0) [[unlikely]] {
        if (want < early_count_) return Busy::idle;
        n = early_count_;
        std::copy_n(early_.begin(), n, packets);
        early_count_ = 0;
    } else {
        n = port_.rx(queue_, packets, want);
    }
    if (n == 0) return Busy::idle;
    ctx.count_in(n);
    ctx.count(kBytes, bytes_of(packets, n));
    if (tap_ != nullptr) tap_->tap(ctx, packets, n, Direction::rx);
    ctx.emit(0, packets, n);
    return Busy::busy;
}

void PortRx::on_mail(LoopCtx&, const Mail& mail) noexcept {
    if (mail.type == kMailSetTap) tap_ = static_cast<PacketTap*>(mail.pointer);
}

Wait PortRx::wait_arm(LoopCtx&, int epoll_fd) noexcept {
    if (early_count_ != 0) return Wait::work;
    if (!waiter_.arm(epoll_fd)) return Wait::poll_only;
    early_count_ = port_.rx(queue_, early_.data(), kRxBurst);
    return early_count_ == 0 ? Wait::armed : Wait::work;
}

void PortRx::wait_disarm(LoopCtx&) noexcept { waiter_.disarm(); }

KindInfo PortTx::kind() {
    KindInfo k = KindInfo::sink_of("port_tx");
    // A source too: it looks after what the ring did not take.
    k.source = true;
    k.counters = {{"bytes", "bytes", "given to the port's ring"}};
    return k;
}

void PortTx::process(LoopCtx& ctx, Burst& burst) noexcept {
    if (tap_ != nullptr) tap_->tap(ctx, burst.pkts, burst.count, Direction::tx);
    if (count_ != 0 && !send_backlog(ctx)) {
        keep(ctx, burst.pkts, burst.count);
        return;
    }
    const std::uint64_t bytes = bytes_of(burst.pkts, burst.count);
    const std::uint16_t sent = port_.tx(queue_, burst.pkts, burst.count);
    if (sent == burst.count) [[likely]] {
        ctx.count(kBytes, bytes);
        return;
    }
    const auto left = static_cast<unsigned>(burst.count - sent);
    ctx.count(kBytes, bytes - bytes_of(burst.pkts + sent, left));
    keep(ctx, burst.pkts + sent, left);
}

void PortTx::keep(LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept {
    if (!port_.link_up()) {
        ctx.drop(DropReason::link_down, packets, count);
        return;
    }
    if (count_ == 0) {
        head_ = 0;
        stuck_since_ = ctx.now;
    }
    if (head_ != 0 && head_ + count_ + count > kBacklog) {
        std::copy_n(backlog_.begin() + head_, count_, backlog_.begin());
        head_ = 0;
    }
    const unsigned fits = std::min(count, kBacklog - head_ - count_);
    std::copy_n(packets, fits, backlog_.begin() + head_ + count_);
    count_ += fits;
    ctx.drop(DropReason::tx_ring_full, packets + fits, count - fits);
}

// True once nothing is left.
bool PortTx::send_backlog(LoopCtx& ctx) noexcept {
    // In bursts: while the ring is stuck, only as many packets are looked at in vain.
    while (count_ != 0) {
        rte_mbuf** const first = backlog_.data() + head_;
        const unsigned n = std::min(count_, kBurstMax);
        const std::uint64_t bytes = bytes_of(first, n);
        const std::uint16_t sent = port_.tx(queue_, first, static_cast<std::uint16_t>(n));
        ctx.count(kBytes, bytes - bytes_of(first + sent, n - sent));
        head_ += sent;
        count_ -= sent;
        if (sent != 0) stuck_since_ = ctx.now;
        if (sent != n) break;
    }
    if (count_ == 0) return true;
    const bool up = port_.link_up();
    if (up && (options_.hold || ctx.now - stuck_since_ <= options_.patience)) return false;
    ctx.drop(up ? DropReason::tx_ring_full : DropReason::link_down, backlog_.data() + head_,
             count_);
    count_ = 0;
    return true;
}

Busy PortTx::poll(LoopCtx& ctx) noexcept {
    if (count_ == 0) return Busy::idle;
    send_backlog(ctx);
    return Busy::busy;
}

void PortTx::on_mail(LoopCtx&, const Mail& mail) noexcept {
    if (mail.type == kMailSetTap) tap_ = static_cast<PacketTap*>(mail.pointer);
}

void PortTx::on_stop(LoopCtx& ctx) noexcept {
    ctx.drop(DropReason::stopped, backlog_.data() + head_, count_);
    count_ = 0;
}

unsigned PortTx::room(unsigned) const noexcept {
    if (options_.hold) return count_ == 0 ? kBacklog : 0;
    return kBacklog - count_;
}

Wait PortTx::wait_arm(LoopCtx&, int) noexcept { return count_ == 0 ? Wait::armed : Wait::work; }

}  // namespace sluice::dp
