#include "shim_hv/dp/ll_ethdev.hpp"

#include <rte_eth_vhost.h>
#include <rte_prefetch.h>
#include <rte_vhost.h>

#include <algorithm>

namespace sluice::shim_hv {
namespace {

// The virtio PMD discards received frames shorter than an Ethernet header.
constexpr std::uint32_t kVirtioFrameMin = 14;
// VIRTIO_NET_F_MRG_RXBUF, virtio 1.2, 5.1.3 (the kernel's header is not C++).
constexpr unsigned kMergeableFeature = 15;

}  // namespace

LowLevelEthdev::LowLevelEthdev(dp::Port& port, const Options& options)
    : port_(port), options_(options), waiter_(port, 0) {}

void LowLevelEthdev::on_link_change(std::function<void()> wake) {
    port_.on_link_change([this, wake = std::move(wake)](bool) {
        changes_.fetch_add(1, std::memory_order_acq_rel);
        if (wake) wake();
    });
}

unsigned LowLevelEthdev::peek(std::span<VmpiView> views) noexcept {
    if (rx_left_) [[unlikely]] {
        rx_left_ = false;
    } else {
        const auto want = static_cast<std::uint16_t>(std::min(views.size(), rx_.size()));
        rx_count_ = usable() ? port_.rx(0, rx_.data(), want) : 0;
    }
    const unsigned n = rx_count_;
    for (unsigned i = 0; i < n; ++i) rte_prefetch0(rte_pktmbuf_mtod(rx_[i], void*));
    for (unsigned i = 0; i < n; ++i) {
        rte_mbuf* const m = rx_[i];
        views[i] = {rte_pktmbuf_mtod(m, const std::byte*), m->data_len, m->pkt_len};
    }
    return n;
}

unsigned LowLevelEthdev::take(std::span<const std::uint16_t> which, rte_mbuf** out) noexcept {
    if (which.size() == rx_count_) [[likely]] {
        std::copy_n(rx_.begin(), rx_count_, out);
        rx_count_ = 0;
        return static_cast<unsigned>(which.size());
    }
    for (std::size_t i = 0; i < which.size(); ++i) {
        out[i] = rx_[which[i]];
        rx_[which[i]] = nullptr;
    }
    return static_cast<unsigned>(which.size());
}

void LowLevelEthdev::release() noexcept {
    for (unsigned i = 0; i < rx_count_; ++i)
        if (rx_[i] != nullptr) rte_pktmbuf_free(rx_[i]);
    rx_count_ = 0;
}

unsigned LowLevelEthdev::send(rte_mbuf** packets, unsigned count) noexcept {
    return usable() ? port_.tx(0, packets, static_cast<std::uint16_t>(count)) : 0;
}

unsigned LowLevelEthdev::reserve(std::span<const std::uint32_t> sizes,
                                 std::span<std::span<std::byte>> spaces) noexcept {
    reserved_count_ = 0;
    const std::size_t most = std::min({sizes.size(), spaces.size(), reserved_.size()});
    for (std::size_t i = 0; i < most; ++i) {
        rte_mbuf* const m = rte_pktmbuf_alloc(options_.pool);
        if (m == nullptr) break;
        if (sizes[i] > rte_pktmbuf_tailroom(m)) {
            rte_pktmbuf_free(m);
            break;
        }
        char* const space = rte_pktmbuf_append(m, static_cast<std::uint16_t>(sizes[i]));
        spaces[i] = {reinterpret_cast<std::byte*>(space), sizes[i]};
        reserved_[reserved_count_++] = m;
    }
    return reserved_count_;
}

unsigned LowLevelEthdev::commit(unsigned count) noexcept {
    const unsigned sent = send(reserved_.data(), std::min(count, reserved_count_));
    for (unsigned i = sent; i < reserved_count_; ++i) rte_pktmbuf_free(reserved_[i]);
    reserved_count_ = 0;
    return sent;
}

// Only vhost can be asked: the driver refuses a frame that is longer than the guest's buffer, and
// goes on refusing it, without a counter that moves.
bool LowLevelEthdev::never_fits(const rte_mbuf*) noexcept {
    if (!port_.is_vhost() || !port_.link_up()) return false;
    const int vid = rte_eth_vhost_get_vid_from_port_id(port_.id());
    if (vid < 0) return false;
    std::uint64_t features = 0;
    if (rte_vhost_get_negotiated_features(vid, &features) != 0) return false;
    if ((features & (1ull << kMergeableFeature)) != 0) return false;
    return rte_vhost_avail_entries(vid, 0) > 0;
}

void LowLevelEthdev::show(dp::LoopCtx& ctx, dp::PacketTap& tap) noexcept {
    tap.tap(ctx, rx_.data(), rx_count_, dp::Direction::rx);
}

dp::Wait LowLevelEthdev::arm(int epoll_fd) noexcept {
    if (rx_left_) return dp::Wait::work;
    if (!usable()) return dp::Wait::armed;
    if (!waiter_.arm(epoll_fd)) return dp::Wait::poll_only;
    // What came in between looking and arming.
    rx_count_ = port_.rx(0, rx_.data(), static_cast<std::uint16_t>(rx_.size()));
    rx_left_ = rx_count_ != 0;
    return rx_left_ ? dp::Wait::work : dp::Wait::armed;
}

void LowLevelEthdev::disarm() noexcept {
    if (usable()) waiter_.disarm();
}

VmpiLimits LowLevelEthdev::limits() const noexcept {
    VmpiLimits limits;
    limits.frame_min_tx = port_.is_vhost() ? kVirtioFrameMin : 1;
    limits.frame_max_tx = options_.frame_max;
    limits.frame_max_rx = options_.mergeable
                              ? options_.frame_max
                              : std::min(options_.frame_max, options_.buffer_size);
    return limits;
}

}  // namespace sluice::shim_hv
